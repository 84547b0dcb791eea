//! The program. Everything is in the library, so tests and readers have one place to look.

fn main() -> std::process::ExitCode {
    daytona_local::main()
}
