//! The contract of a host, held by both: each case runs against [`host_native::NativeHost`] and against the
//! plugins' host in OpenCode's own Bun.

mod bun;
mod files;
mod http;
mod machine;
mod network;
mod processes;
mod server;
mod world;

use world::{Kind, World, run};

/// Every case as two tests, one for each host.
macro_rules! contract {
    ($($module:ident: $($case:ident),+;)+) => {
        mod native {
            $($(#[test]
            fn $case() {
                super::run(super::Kind::Native, super::$module::$case);
            })+)+
        }
        mod opencode {
            $($(#[test]
            fn $case() {
                super::run(super::Kind::Bun, super::$module::$case);
            })+)+
        }
    };
}

contract! {
    files:
        what_is_missing_is_told_or_fine,
        a_file_is_created_once_and_private,
        a_replaced_file_is_new_as_a_whole_and_private,
        a_replace_that_fails_leaves_the_directory_as_it_was,
        a_part_is_read_as_far_as_there_is_one,
        a_copy_has_the_time_of_the_original_in_whole_milliseconds,
        a_made_directory_is_private_with_those_above_it,
        only_temporary_directories_are_removed,
        sizes_are_those_of_files_and_links_are_not_followed,
        a_directory_has_the_names_in_it,
        a_real_path_has_no_links;
    http:
        a_request_arrives_as_it_was_given,
        a_redirect_is_an_answer,
        every_part_of_a_form_arrives_byte_by_byte,
        an_upload_that_cannot_be_read_is_not_sent,
        a_request_that_cannot_be_made_is_not_sent,
        the_answer_has_names_in_lower_case_and_a_body_for_every_status,
        an_answer_as_large_as_allowed_is_taken_and_a_larger_one_is_not,
        a_saved_answer_is_a_new_private_file_or_goes_behind_what_is_there,
        an_answer_that_says_no_is_not_saved,
        an_answer_that_cannot_be_saved_may_have_had_its_effect,
        many_requests_go_at_the_same_time,
        a_request_whose_future_is_dropped_is_ended;
    network:
        every_failure_has_its_kind,
        the_time_limit_holds_for_the_head_and_for_the_body,
        a_certificate_is_refused_for_what_is_wrong_with_it,
        certificates_of_the_environment_are_trusted,
        requests_go_through_the_proxy_of_the_environment,
        a_proxy_that_is_not_there_is_told_by_its_variable,
        the_first_line_comes_back;
    processes:
        git_gives_its_code_its_output_and_its_words,
        of_the_variables_of_git_only_those_that_are_kept_are_inherited,
        standard_input_is_bytes_or_a_file_from_a_byte_on,
        git_tells_that_something_is_behind_a_pack_in_a_file,
        a_git_that_reads_nothing_ends_all_the_same,
        standard_output_may_go_to_a_private_file,
        what_git_says_is_told_while_it_runs,
        of_what_git_says_the_end_is_kept,
        a_git_that_takes_too_long_is_ended_with_what_it_started,
        a_git_whose_future_is_dropped_is_ended_with_what_it_started,
        a_git_ends_with_a_process_that_is_killed,
        a_git_that_cannot_be_run_says_so,
        a_program_gives_what_it_writes,
        a_program_that_gives_nothing_says_why;
    machine:
        a_variable_that_is_empty_is_not_set,
        the_clock_and_the_process_are_this_machines,
        random_bits_differ,
        a_process_lives_until_it_has_ended;
}

/// A process that a case may kill: the case starts this program again with the variable. Without it, it is
/// nothing.
#[test]
fn a_native_process_that_runs_git() {
    if let Some(dir) = std::env::var_os("HOST_CONTRACT_DIRECTORY") {
        let world = World::new(Kind::Native);
        let dir = dir.to_string_lossy().into_owned();
        world.block_on(async { processes::run_endless(&*world.host, &dir).await });
    }
}
