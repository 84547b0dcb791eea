//! Files.

use crate::world::World;
use host::FileErrorKind::{self, Exists, NotFound, Other};
use host::{FileError, TEMPORARY};
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn mode(path: &str) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o777
}

fn kind<T>(result: Result<T, FileError>) -> Option<FileErrorKind> {
    result.err().map(|error| error.kind)
}

fn names(dir: &str) -> Vec<String> {
    let names = fs::read_dir(dir).expect("a directory").flatten();
    let mut names: Vec<_> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

pub(crate) async fn what_is_missing_is_told_or_fine(world: &World) {
    let (host, missing, other) = (&world.host, world.path("missing"), world.path("other"));
    let gone = Some(NotFound);
    assert_eq!(kind(host.read_file(&missing).await), gone);
    assert_eq!(kind(host.read_part(&missing, 0, 1).await), gone);
    assert_eq!(kind(host.file_size(&missing).await), gone);
    assert_eq!(kind(host.modified_ms(&missing).await), gone);
    assert_eq!(kind(host.real_path(&missing).await), gone);
    assert_eq!(kind(host.copy_file(&missing, &other).await), gone);
    assert_eq!(kind(host.rename_file(&missing, &other).await), gone);
    assert_eq!(host.list_dir(&missing).await.expect("none"), [""; 0]);
    host.remove_file(&missing).await.expect("fine");
    let error = host.read_file(&missing).await.expect_err("missing");
    assert_eq!(error.path, missing);
    assert!(!error.reason.is_empty());
    assert_eq!(names(&world.dir()), [""; 0]);
}

pub(crate) async fn a_file_is_created_once_and_private(world: &World) {
    let path = world.path("deep/er/once");
    world.host.create_file(&path).await.expect("created");
    assert_eq!(
        (mode(&path), fs::read(&path).expect("read")),
        (0o600, Vec::new())
    );
    fs::write(&path, "mine").expect("written");
    assert_eq!(kind(world.host.create_file(&path).await), Some(Exists));
    assert_eq!(fs::read_to_string(&path).expect("read"), "mine");
    let below = format!("{path}/below");
    assert!(world.host.create_file(&below).await.is_err());
}

pub(crate) async fn a_replaced_file_is_new_as_a_whole_and_private(world: &World) {
    use std::os::unix::fs::PermissionsExt;
    let path = world.path("deep/er/file.json");
    for content in ["one", "two, and longer", "", "x"] {
        let replaced = world.host.replace_file(&path, content.as_bytes()).await;
        replaced.expect("replaced");
        assert_eq!(fs::read_to_string(&path).expect("read"), content);
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
    }
    assert_eq!(names(&world.path("deep/er")), ["file.json"]);
    // A link is replaced, and what it names stays.
    let named = world.file("named", "named");
    let link = world.path("link");
    std::os::unix::fs::symlink(&named, &link).expect("linked");
    world
        .host
        .replace_file(&link, b"new")
        .await
        .expect("replaced");
    assert_eq!(fs::read_to_string(&named).expect("read"), "named");
    assert!(fs::symlink_metadata(&link).expect("there").is_file());
}

pub(crate) async fn a_replace_that_fails_leaves_the_directory_as_it_was(world: &World) {
    let taken = world.path("taken");
    world
        .host
        .create_file(&format!("{taken}/inside"))
        .await
        .expect("created");
    assert!(world.host.replace_file(&taken, b"x").await.is_err());
    assert_eq!(names(&world.dir()), ["taken"]);
    assert_eq!(names(&taken), ["inside"]);
}

pub(crate) async fn a_part_is_read_as_far_as_there_is_one(world: &World) {
    let path = world.file("parts", "0123456789");
    for (offset, length, expected) in [
        (0, 10, "0123456789"),
        (2, 3, "234"),
        (8, 100, "89"),
        (10, 1, ""),
        (20, 5, ""),
        (3, 0, ""),
        (0, 1 << 50, "0123456789"),
    ] {
        let part = world.host.read_part(&path, offset, length).await;
        assert_eq!(
            part.expect("read"),
            expected.as_bytes(),
            "{offset} {length}"
        );
    }
    assert_eq!(
        world.host.read_file(&path).await.expect("read"),
        b"0123456789"
    );
    assert_eq!(world.host.file_size(&path).await.expect("size"), 10);
    assert_eq!(kind(world.host.read_file(&world.dir()).await), Some(Other));
}

pub(crate) async fn a_copy_has_the_time_of_the_original_in_whole_milliseconds(world: &World) {
    use std::os::unix::fs::PermissionsExt;
    let (from, to) = (
        world.file("old", "was"),
        world.file("copy", "something longer"),
    );
    let written = UNIX_EPOCH + Duration::new(1_700_000_000, 123_987_654);
    let file = fs::File::options().write(true).open(&from).expect("opened");
    file.set_modified(written).expect("set");
    fs::set_permissions(&from, fs::Permissions::from_mode(0o444)).expect("set");
    world.host.copy_file(&from, &to).await.expect("copied");
    assert_eq!(fs::read_to_string(&to).expect("read"), "was");
    let copied = fs::metadata(&to).and_then(|found| found.modified());
    let copied = copied.expect("a time").duration_since(UNIX_EPOCH);
    let copied = copied.expect("after 1970");
    assert_eq!(copied.as_millis(), 1_700_000_000_123, "{copied:?}");
    assert!(UNIX_EPOCH + copied <= written, "{copied:?}");
    for path in [&from, &to] {
        let modified = world.host.modified_ms(path).await.expect("a time");
        assert_eq!(modified, 1_700_000_000_123, "{path}");
    }
    world.host.rename_file(&to, &from).await.expect("renamed");
    assert_eq!(names(&world.dir()), ["old"]);
}

pub(crate) async fn a_made_directory_is_private_with_those_above_it(world: &World) {
    let path = world.path("made/below");
    world.host.make_dir(&path).await.expect("made");
    world.host.make_dir(&path).await.expect("there");
    assert_eq!((mode(&path), mode(&world.path("made"))), (0o700, 0o700));
    let file = world.file("file", "x");
    assert_eq!(kind(world.host.make_dir(&file).await), Some(Exists));
}

pub(crate) async fn only_temporary_directories_are_removed(world: &World) {
    let own = world.path(&format!("place/{TEMPORARY}1"));
    fs::create_dir_all(format!("{own}/deep")).expect("made");
    fs::write(format!("{own}/deep/file"), "x").expect("written");
    let outside = world.file("outside", "stays");
    std::os::unix::fs::symlink(&outside, format!("{own}/link")).expect("linked");
    world.host.remove_dir(&own).await.expect("removed");
    world
        .host
        .remove_dir(&own)
        .await
        .expect("a missing one is fine");
    for other in ["place", "outside", ".", &format!("{TEMPORARY}1/..")] {
        assert!(
            world.host.remove_dir(&world.path(other)).await.is_err(),
            "{other}"
        );
    }
    assert_eq!(names(&world.dir()), ["outside", "place"]);
    assert_eq!(names(&world.path("place")), [""; 0]);
}

pub(crate) async fn sizes_are_those_of_files_and_links_are_not_followed(world: &World) {
    world.file("six", "123456");
    world.file("a b\nc", "1");
    std::os::unix::fs::symlink("six", world.path("link")).expect("linked");
    fs::create_dir(world.path("dir")).expect("made");
    let asked = ["six", "link", "missing", "dir", ".", "a b\nc", "six/below"];
    let asked = asked.map(str::to_string);
    let sizes = world.host.file_sizes(&world.dir(), &asked).await;
    assert_eq!(sizes, [6, 0, 0, 0, 0, 1, 0]);
    let linked = world.host.file_size(&world.path("link")).await;
    assert_eq!(linked.expect("the file's"), 6);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let modified = world
        .host
        .modified_ms(&world.path("six"))
        .await
        .expect("a time");
    assert!(now.as_millis().abs_diff(modified.into()) < 3_600_000);
}

pub(crate) async fn a_directory_has_the_names_in_it(world: &World) {
    let dir = world.path("dir");
    fs::create_dir(&dir).expect("made");
    assert_eq!(world.host.list_dir(&dir).await.expect("listed"), [""; 0]);
    for name in ["ä", ".hidden", "a b"] {
        fs::write(format!("{dir}/{name}"), "").expect("written");
    }
    fs::create_dir(format!("{dir}/below")).expect("made");
    let mut listed = world.host.list_dir(&dir).await.expect("listed");
    listed.sort();
    assert_eq!(listed, [".hidden", "a b", "below", "ä"]);
    let file = format!("{dir}/a b");
    assert_eq!(kind(world.host.list_dir(&file).await), Some(Other));
    world.host.remove_file(&file).await.expect("removed");
    assert!(!fs::exists(&file).expect("looked at"));
    assert!(
        world
            .host
            .remove_file(&format!("{dir}/below"))
            .await
            .is_err()
    );
}

pub(crate) async fn a_real_path_has_no_links(world: &World) {
    fs::create_dir(world.path("dir")).expect("made");
    std::os::unix::fs::symlink("dir", world.path("link")).expect("linked");
    let real = world.host.real_path(&world.path("link/../link")).await;
    assert_eq!(real.expect("there"), format!("{}/dir", world.dir()));
}
