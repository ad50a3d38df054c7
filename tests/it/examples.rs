//! The files in `examples/` that set a site up: each is checked by what will read it, or run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::{MariaDb, Memcached, Service, Site, ask, free_port, program, stderr, stdout, wait_until};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

const UNITS: [&str; 4] =
    ["weir-serve.service", "weir-flush.service", "weir-flush-once.service", "weir-flush-once.timer"];

/// The command line of a unit's `ExecStart`.
fn command_of(unit: &str) -> &str {
    unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/weir ")).unwrap()
}

#[test]
fn systemd_finds_nothing_to_say_of_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for name in UNITS {
        // The one thing that is not there on every machine is the program in its place.
        let unit = fs::read_to_string(example(&format!("systemd/{name}"))).unwrap();
        let unit = unit.replace("/usr/local/bin/weir", env!("CARGO_BIN_EXE_weir"));
        paths.push(folder.path().join(name));
        fs::write(paths.last().unwrap(), unit).unwrap();
    }
    match Command::new("systemd-analyze").args(["verify", "--man=no", "--recursive-errors=no"]).args(&paths).output() {
        Ok(verified) => {
            assert!(verified.status.success() && verified.stderr.is_empty(), "{}", stderr(&verified));
        }
        // Without systemd: that every line is a section, a comment or a setting, and no setting is said twice that
        // may be said once.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => paths.iter().for_each(|path| {
            let text = fs::read_to_string(path).unwrap();
            let settings = text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
            let mut names: Vec<_> = settings.map(|line| line.split_once('=').unwrap().0).collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{}", path.display());
        }),
        Err(error) => panic!("systemd-analyze: {error}"),
    }
}

#[test]
fn the_commands_of_the_units_are_weirs() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    let once = fs::read_to_string(example("systemd/weir-flush-once.service")).unwrap();
    assert_eq!(site.ok(&command_of(&once).split(' ').collect::<Vec<_>>()), "");
    assert_eq!(site.counted("now").len(), 1);
    let service = fs::read_to_string(example("systemd/weir-flush.service")).unwrap();
    assert!(service.contains("\nType=notify\n") && service.contains("\nWatchdogSec="));
    let mut running = site.start(&command_of(&service).split(' ').collect::<Vec<_>>());
    site.ok(&["poll", "vote", "now", "no"]);
    wait_until("the service has flushed", || site.counted("now").len() == 2);
    running.kill().unwrap();
    running.wait().unwrap();
}

#[test]
fn nginx_takes_the_site_and_brings_a_vote_through_it() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    let unit = fs::read_to_string(example("systemd/weir-serve.service")).unwrap();
    assert!(unit.contains("\nType=notify\n") && unit.contains("\nWatchdogSec="));
    let arguments: Vec<_> = command_of(&unit).split(' ').collect();
    assert_eq!(arguments[..4], ["poll", "serve", "--listen", "127.0.0.1:8080"]);
    let service = Service::start(&site, &arguments[4..]);
    let port = free_port();
    let conf = fs::read_to_string(example("nginx-polls.conf")).unwrap();
    // In place of TLS, for which the test would need a certificate: all else is as it is.
    let conf: String =
        conf.lines().filter(|line| !line.contains("ssl_certificate")).map(|line| format!("{line}\n")).collect();
    let conf = conf.replace("listen 443 ssl", &format!("listen 127.0.0.1:{port}"));
    let conf = conf.replace("server 127.0.0.1:8080", &format!("server {}", service.address));
    let folder = site.path("nginx");
    fs::create_dir(&folder).unwrap();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|of| format!("{of}_temp_path {of};"));
    let whole = format!(
        "daemon off; master_process off; pid pid; error_log log;\nevents {{}}\nhttp {{ access_log off; {}\n{conf}}}\n",
        temporary.join(" ")
    );
    fs::write(folder.join("nginx.conf"), whole).unwrap();
    let mut nginx = Command::new(program("nginx", "nginx-light"));
    nginx.arg("-p").arg(&folder).args(["-c", "nginx.conf", "-e", "log"]).stderr(std::process::Stdio::null());
    let mut nginx = nginx.spawn().unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    wait_until("nginx answers", || std::net::TcpStream::connect(address).is_ok());
    let origin = format!("http://{address}");
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let forged = [form, ("Origin", "https://evil.example")];
    assert_eq!(ask(address, "POST", "/polls/now", &forged, "choice=yes").status, 403);
    let voted = ask(address, "POST", "/polls/now", &[form, ("Origin", &origin)], "choice=yes");
    assert_eq!((voted.status, voted.headers["location"].as_str()), (303, "/polls/now/results?voted=1"));
    assert_eq!(ask(address, "GET", "/polls/now/results", &[], "").status, 200);
    nginx.kill().unwrap();
    nginx.wait().unwrap();
    assert_eq!(service.end(), Some(0));
    assert_eq!(site.counted("now").len(), 1);
}

#[test]
fn the_crontabs_commands_run_and_are_silent_while_all_is_well() {
    let memcached = Memcached::start();
    let site = Site::new(&[&memcached]);
    site.create_now();
    site.ok(&["poll", "vote", "now", "yes"]);
    let crontab = fs::read_to_string(example("weir.crontab")).unwrap();
    let mut commands = 0;
    for line in crontab.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let fields: Vec<_> = line.split_whitespace().collect();
        if fields.len() == 1 {
            let (name, value) = line.split_once('=').unwrap();
            assert!(name.chars().all(|c| c.is_ascii_uppercase() || c == '_') && !value.is_empty(), "{line}");
            continue;
        }
        let time = fields[..5].iter().all(|field| field.chars().all(|c| c.is_ascii_digit() || "*/,-".contains(c)));
        assert!(time && fields[5] == "weir" && fields[6] == "weir" && !line.contains('%'), "{line}");
        let output = site.run(&fields[7..]);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
        assert_eq!((stdout(&output), stderr(&output)), (String::new(), String::new()), "{line}");
        commands += 1;
    }
    assert_eq!((commands, site.counted("now").len()), (2, 1));
}

#[test]
fn the_setup_script_sets_up_what_weir_then_works_with() {
    let (memcached, mariadb) = (Memcached::start(), MariaDb::start());
    let mut site = Site::new(&[]);
    let (conf, toml, state) = (site.path("memcached.conf"), site.path("etc/weir.toml"), site.path("state"));
    fs::write(&conf, "# Debian's own\n-d\n-m 64\n-l 127.0.0.1\n").unwrap();
    let client = program("mariadb", "mariadb-client");
    let socket = mariadb.folder().join("s");
    let user = Command::new("id").arg("-un").output().unwrap();
    let setup = || {
        let mut script = Command::new("sh");
        script.arg(example("setup.sh")).env("WEIR_USER", stdout(&user).trim()).env("STATE_DIR", &state);
        script.env("MARIADB", format!("{} --no-defaults -u root -S {}", client.display(), socket.display()));
        script.env("DATABASE_HOST", mariadb.address()).env("MEMCACHED", memcached.address());
        script.env("MEMCACHED_CONF", &conf).env("WEIR_TOML", &toml);
        script.env("RESTART", format!("touch {}", site.path("restarted").display()));
        let output = script.output().unwrap();
        assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
        stdout(&output)
    };
    setup();
    let options = fs::read_to_string(&conf).unwrap();
    assert_eq!(options, "# Debian's own\n-d\n-l 127.0.0.1\n-M\n-m 256\n");
    assert!(site.path("restarted").exists() && state.is_dir());
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&toml).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o400);
    // A second run finds everything right and changes no password.
    let written = fs::read_to_string(&toml).unwrap();
    let said = setup();
    assert!(said.contains("is right") && said.contains("is there already"), "{said}");
    assert_eq!((fs::read_to_string(&toml).unwrap(), fs::read_to_string(&conf).unwrap()), (written, options));

    for name in ["WEIR_MEMCACHED", "WEIR_DATABASE"] {
        site.set(name, "");
    }
    site.set("WEIR_CONFIG", toml.display().to_string());
    site.create_now();
    assert!(site.ok(&["poll", "vote", "now", "yes", "--voter", "ann"]).starts_with("queued "));
    assert_eq!(site.json(&["poll", "flush"])["counted"], json!(1));
    assert_eq!(site.json(&["poll", "verify"])["ok"], json!(true));
    assert!(site.ok(&["config"]).contains("mysql://weir:***@"));
    site.ok(&["poll", "status", "--check"]);
}
