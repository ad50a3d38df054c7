//! The example of a fleet runs as it stands.

use std::path::Path;
use std::process::Command;

use crate::support::Ran;

#[test]
fn the_fleet_example_works() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fleet.sh");
    let weir = Path::new(env!("CARGO_BIN_EXE_weir")).parent().unwrap();
    let own = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([weir.to_path_buf()].into_iter().chain(std::env::split_paths(&own))).unwrap();
    let ran = Ran::of(&Command::new("sh").arg(script).env("PATH", path).output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    for wanted in ["fleet/db1/apps/sbin/file\n", "fleet/web2/apps/share/emacs/file\n", "exit code 4\n", " created, "] {
        assert!(ran.out.contains(wanted), "{wanted}: {ran:?}");
    }
    assert!(!ran.out.contains("fleet/web1/apps/share/emacs"), "{ran:?}");
    assert!(ran.err.contains("1 of 2 hosts failed: web2"), "{ran:?}");
}
