//! The notes' case, and whose list is used.

use crate::support::{Ground, NOTES};

const WANTED: [&str; 3] = ["apps/bin/file", "apps/lib/file", "apps/share/vim/file"];

#[test]
fn the_notes_case_works_as_the_notes_tell_it() {
    let ground = Ground::new();
    let ran = ground.ok(&["--host", "web1", "export/apps", "local"]);
    assert_eq!(ground.files("local"), WANTED);
    assert!(ran.err.contains("added `+ /apps/share/` before line 5"), "{}", ran.err);
    // Plain rsync with the same list leaves vim out, and --strict says so instead of opening the way.
    let ran = ground.run(&["--strict", "--host", "web1", "export/apps", "strict"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("web1-exclude-list.txt:3: `+ /apps/share/vim/` is never reached"), "{}", ran.err);
    assert!(!ground.path("strict").exists());
}

#[test]
fn a_newly_excluded_entry_disappears_at_the_next_run() {
    let ground = Ground::new();
    ground.ok(&["--host", "web1", "export/apps", "local"]);
    ground.write("web1-exclude-list.txt", NOTES.replace("+ /apps/lib/\n", ""));
    ground.ok(&["--host", "web1", "export/apps", "local"]);
    assert_eq!(ground.files("local"), ["apps/bin/file", "apps/share/vim/file"]);
}

#[test]
fn a_slash_makes_the_content_the_root() {
    let ground = Ground::new();
    ground.write("list", "+ /bin/\n- /*\n");
    ground.ok(&["--list", "list", "export/apps/", "local/content"]);
    assert_eq!(ground.files("local"), ["content/bin/file"]);
}

#[test]
fn what_is_beside_the_copy_in_the_destination_is_left_alone() {
    let ground = Ground::new();
    ground.write("local/other/file", "mine");
    ground.ok(&["--host", "web1", "export/apps", "local"]);
    assert!(ground.path("local/other/file").exists());
}

#[test]
fn a_run_with_nothing_to_do_does_nothing_and_says_so() {
    let ground = Ground::new();
    ground.ok(&["--host", "web1", "export/apps", "local"]);
    let ran = ground.ok(&["--host", "web1", "export/apps", "local"]);
    assert!(ran.out.starts_with("web1: nothing to do, 8 entries"), "{}", ran.out);
    let ran = ground.ok(&["--no-guard", "--host", "web1", "export/apps", "local"]);
    assert!(ran.out.starts_with("web1: nothing to do, 8 entries"), "{}", ran.out);
}

#[test]
fn a_list_with_an_error_in_it_is_told() {
    let ground = Ground::new();
    ground.write("list", "+x\n- /apps/var/\n");
    let ran = ground.ok(&["--list", "list", "export/apps", "local"]);
    assert!(ran.err.contains("warning: list:1: ") && ran.err.contains("weir rules check list"), "{}", ran.err);
}

#[test]
fn without_a_host_it_is_this_machine() {
    let ground = Ground::new();
    let own = gethostname::gethostname().into_string().unwrap();
    ground.write(format!("lists/{own}-exclude-list.txt"), "- /apps/*/\n+ *\n");
    ground.ok(&["--lists", "lists", "export/apps", "local"]);
    assert!(ground.files("local").is_empty());
    let ran = ground.run(&["export/apps", "local"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains(&format!("no list for host {own}: ")), "{}", ran.err);
}
