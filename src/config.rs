//! Settings: a flag wins over the environment, that over the configuration file, that over the default; and each
//! value remembers where it came from, so that a wrong one can be named by its place.
//!
//! The file is TOML, by default `$XDG_CONFIG_HOME/weir/weir.toml` or `/etc/weir/weir.toml`, the first that
//! exists:
//!
//! ```toml
//! [poll]
//! memcached = ["10.0.0.1:11211", "10.0.0.2:11211"]
//! database = "mysql://weir:secret@10.0.0.3:3306/polls"
//!
//! [serve]
//! listen = "127.0.0.1:8080"
//! trusted-proxy = ["127.0.0.1"]
//!
//! [sync]
//! lists = "/etc/weir/lists"
//! max-delete = "5%"
//! ```
//!
//! It refuses a file with a table or key that it does not know: a misspelt setting that is passed over in
//! silence is found during the next spike. Values are text here; what they mean is the commands' to say.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// A setting that exists.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The table of the file it is in.
    pub table: &'static str,
    /// Its name in the file, and as a flag with two dashes before it.
    pub name: &'static str,
    /// Its environment variable.
    pub variable: &'static str,
    /// Whether its value must never be shown.
    pub secret: bool,
}

impl Key {
    fn place(self) -> (&'static str, &'static str) {
        (self.table, self.name)
    }
}

const fn poll(name: &'static str, variable: &'static str) -> Key {
    Key { table: "poll", name, variable, secret: false }
}

const fn serve(name: &'static str, variable: &'static str) -> Key {
    Key { table: "serve", name, variable, secret: false }
}

/// The memcached servers, separated by commas.
pub const MEMCACHED: Key = poll("memcached", "WEIR_MEMCACHED");
/// What all keys of the queue begin with.
pub const PREFIX: Key = poll("prefix", "WEIR_PREFIX");
/// The database's URL.
pub const DATABASE: Key = poll("database", "WEIR_DATABASE");
/// The folder for ballots that nothing else takes.
pub const SPOOL: Key = poll("spool", "WEIR_SPOOL");
/// On how many servers each ballot is stored.
pub const COPIES: Key = poll("copies", "WEIR_COPIES");
/// How long one memcached server may take.
pub const TIMEOUT: Key = poll("timeout", "WEIR_TIMEOUT");
/// How long entries stay in memcached after they were committed.
pub const KEEP: Key = poll("keep", "WEIR_KEEP");
/// What voters' names are hashed with. It has no flag: a process list would show it.
pub const VOTER_SECRET: Key = Key { secret: true, ..poll("voter-secret", "WEIR_VOTER_SECRET") };

/// Where the web service listens.
pub const LISTEN: Key = serve("listen", "WEIR_LISTEN");
/// The pause between two flushes of the web service.
pub const FLUSH_EVERY: Key = serve("flush-every", "WEIR_FLUSH_EVERY");
/// Networks whose forwarding headers the web service believes, separated by commas.
pub const TRUSTED_PROXY: Key = serve("trusted-proxy", "WEIR_TRUSTED_PROXY");
/// Origins whose pages may frame those of the web service, separated by commas.
pub const EMBED_ORIGIN: Key = serve("embed-origin", "WEIR_EMBED_ORIGIN");
/// How many requests a second one address may make of the web service.
pub const RATE_LIMIT: Key = serve("rate-limit", "WEIR_RATE_LIMIT");
/// What the pages of the web service are headed with.
pub const TITLE: Key = serve("title", "WEIR_TITLE");
/// How many votes may wait for each memcached server in the web service.
pub const WAITING_MAX: Key = serve("waiting-max", "WEIR_WAITING_MAX");
/// How many connections the web service has at once.
pub const CONNECTIONS_MAX: Key = serve("connections-max", "WEIR_CONNECTIONS_MAX");

const fn sync(name: &'static str, variable: &'static str) -> Key {
    Key { table: "sync", name, variable, secret: false }
}

/// The directory of the lists.
pub const LISTS: Key = sync("lists", "WEIR_LISTS");
/// How much a run may delete.
pub const MAX_DELETE: Key = sync("max-delete", "WEIR_MAX_DELETE");
/// The remote shell and its arguments.
pub const RSH: Key = sync("rsh", "WEIR_RSH");
/// How often a lost connection is tried again.
pub const RETRIES: Key = sync("retries", "WEIR_RETRIES");
/// The pause before the first of these tries.
pub const RETRY_WAIT: Key = sync("retry-wait", "WEIR_RETRY_WAIT");
/// How many hosts at once.
pub const PARALLEL: Key = sync("parallel", "WEIR_PARALLEL");
/// The directory of the logs.
pub const LOG_DIR: Key = sync("log-dir", "WEIR_LOG_DIR");

/// Every setting, in the order in which they are shown. No two have one name.
pub const KEYS: [Key; 23] = [
    MEMCACHED,
    PREFIX,
    DATABASE,
    SPOOL,
    COPIES,
    TIMEOUT,
    KEEP,
    VOTER_SECRET,
    LISTEN,
    FLUSH_EVERY,
    TRUSTED_PROXY,
    EMBED_ORIGIN,
    RATE_LIMIT,
    TITLE,
    WAITING_MAX,
    CONNECTIONS_MAX,
    LISTS,
    MAX_DELETE,
    RSH,
    RETRIES,
    RETRY_WAIT,
    PARALLEL,
    LOG_DIR,
];

/// The tables of the file, as a message names them.
const TABLES: &str = "[poll], [serve] or [sync]";

/// The environment variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "WEIR_CONFIG";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// An environment variable.
    Environment(&'static str),
    /// A line of the configuration file.
    File(PathBuf, usize),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) => write!(f, "flag --{name}"),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value as text.
    pub value: String,
    /// Its place.
    pub origin: Origin,
}

/// Why the settings cannot be known.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConfigError {
    #[error("{}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: {message}", path.display())]
    Line { path: PathBuf, line: usize, message: String },
    #[error("environment {0} is not UTF-8")]
    NotUtf8(&'static str),
    #[error("{origin}: {message}")]
    Value { origin: Origin, message: String },
}

/// All settings that somebody made.
#[derive(Debug, Default)]
pub struct Config {
    file: Option<PathBuf>,
    settings: Settings,
}

/// By table and name.
type Settings = HashMap<(&'static str, &'static str), Setting>;

impl Config {
    /// Brings flags, environment and file together. `flags` are the values given on the command line, by
    /// setting; `file` is the `--config` given there; `variable` reads the environment.
    ///
    /// # Errors
    /// [`ConfigError`], naming file and line or variable.
    pub fn load(
        flags: &[(Key, Option<String>)],
        file: Option<&Path>,
        variable: &dyn Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<Config, ConfigError> {
        let given = file.map(Path::to_path_buf).or_else(|| filled(variable, CONFIG_VARIABLE).map(PathBuf::from));
        let path = given.or_else(|| default_files(variable).into_iter().find(|path| path.exists()));
        let mut settings = match &path {
            Some(path) => {
                tracing::info!("reading configuration file {}", path.display());
                read_file(path)?
            }
            None => HashMap::new(),
        };
        for key in KEYS {
            if let Some(value) = filled(variable, key.variable) {
                let value = value.into_string().map_err(|_| ConfigError::NotUtf8(key.variable))?;
                settings.insert(key.place(), Setting { value, origin: Origin::Environment(key.variable) });
            }
        }
        for (key, value) in flags {
            if let Some(value) = value {
                settings.insert(key.place(), Setting { value: value.clone(), origin: Origin::Flag(key.name) });
            }
        }
        Ok(Config { file: path, settings })
    }

    /// The configuration file that was read, if any.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// A setting's value, if somebody set it.
    pub fn get(&self, key: Key) -> Option<&Setting> {
        self.settings.get(&key.place())
    }

    /// A setting turned into what it means; without one, `default`.
    ///
    /// # Errors
    /// [`ConfigError::Value`] with the value's place and `read`'s message.
    pub fn read<T, E: fmt::Display>(
        &self,
        key: Key,
        default: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        let (text, origin) = match self.get(key) {
            Some(setting) => (setting.value.as_str(), setting.origin.clone()),
            None => (default, Origin::Default),
        };
        read(text).map_err(|error| {
            let message = format!("{}: {error}", key.name);
            ConfigError::Value { origin, message }
        })
    }
}

/// An empty variable is one that is not set: that is what `WEIR_X= weir ...` means in a shell.
fn filled(variable: &dyn Fn(&str) -> Option<std::ffi::OsString>, name: &str) -> Option<std::ffi::OsString> {
    variable(name).filter(|value| !value.is_empty())
}

fn default_files(variable: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> Vec<PathBuf> {
    let of_user = filled(variable, "XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| filled(variable, "HOME").map(|home| PathBuf::from(home).join(".config")));
    let folders = of_user.into_iter().chain([PathBuf::from("/etc")]);
    folders.map(|folder| folder.join("weir/weir.toml")).collect()
}

fn read_file(path: &Path) -> Result<Settings, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
    let line_of = |offset: usize| text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
    let fail = |offset: usize, message: String| {
        Err(ConfigError::Line { path: path.to_path_buf(), line: line_of(offset), message })
    };
    let document = match DeTable::parse(&text) {
        Ok(document) => document,
        Err(error) => return fail(error.span().map_or(0, |span| span.start), error.message().to_string()),
    };
    let mut settings = HashMap::new();
    for (table, content) in document.get_ref() {
        let known: Vec<Key> = KEYS.into_iter().filter(|key| key.table == table.get_ref().as_ref()).collect();
        let DeValue::Table(entries) = content.get_ref() else {
            return fail(
                table.span().start,
                format!("{} is outside of a table: expected {TABLES} above it", table.get_ref()),
            );
        };
        if known.is_empty() {
            return fail(table.span().start, format!("there is no table [{}]: expected {TABLES}", table.get_ref()));
        }
        for (name, value) in entries {
            let Some(key) = known.iter().find(|key| key.name == name.get_ref().as_ref()) else {
                let names: Vec<_> = known.iter().map(|key| key.name).collect();
                let message = format!("there is no setting {}: expected one of {}", name.get_ref(), names.join(", "));
                return fail(name.span().start, message);
            };
            let Some(text) = text_of(value.get_ref()) else {
                let message = format!("{}: expected a string, a number or a list of strings", key.name);
                return fail(value.span().start, message);
            };
            let origin = Origin::File(path.to_path_buf(), line_of(name.span().start));
            settings.insert(key.place(), Setting { value: text, origin });
        }
    }
    Ok(settings)
}

fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.as_str().to_string()),
        DeValue::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            items.map(|items| items.join(","))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)], flag: Option<&str>) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.toml");
        std::fs::write(&path, file).unwrap();
        let variable =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
        Config::load(&[(PREFIX, flag.map(Into::into))], Some(&path), &variable)
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let file = "[poll]\nmemcached = [\"a:1\", \"b:2\"]\nprefix = 'file'\n";
        let value =
            |config: &Config, key| config.get(key).map(|one| (one.value.clone(), one.origin.to_string())).unwrap();
        let config = load(file, &[], None).unwrap();
        assert_eq!(value(&config, MEMCACHED).0, "a:1,b:2");
        assert!(value(&config, PREFIX).1.ends_with("weir.toml:3"));
        let config = load(file, &[("WEIR_PREFIX", "env"), ("WEIR_MEMCACHED", "")], None).unwrap();
        assert_eq!(value(&config, PREFIX), ("env".into(), "environment WEIR_PREFIX".into()));
        assert_eq!(value(&config, MEMCACHED).0, "a:1,b:2");
        let config = load(file, &[("WEIR_PREFIX", "env")], Some("flag")).unwrap();
        assert_eq!(value(&config, PREFIX), ("flag".into(), "flag --prefix".into()));
        assert!(config.get(SPOOL).is_none());
        let config =
            load("[sync]\nmax-delete = 20\n\n[poll]\ncopies = 2\n", &[("WEIR_LISTS", "/lists")], None).unwrap();
        assert_eq!((value(&config, MAX_DELETE).0.as_str(), value(&config, COPIES).0.as_str()), ("20", "2"));
        assert_eq!(value(&config, LISTS), ("/lists".into(), "environment WEIR_LISTS".into()));
    }

    #[test]
    fn a_wrong_file_is_named_with_its_line() {
        for (file, line, says) in [
            ("[poll]\nprefx = 'x'\n", 2, "no setting prefx"),
            ("\n\n[pol]\n", 3, "no table [pol]"),
            ("prefix = 'x'\n", 1, "outside of a table"),
            ("[poll]\nprefix = 'x\n", 2, ""),
            ("[poll]\ncopies = true\n", 2, "expected a string"),
            ("[sync]\ncopies = 1\n", 2, "expected one of lists, "),
        ] {
            let message = load(file, &[], None).unwrap_err().to_string();
            assert!(message.contains(&format!("weir.toml:{line}: ")) && message.contains(says), "{message}");
        }
    }

    #[test]
    fn a_wrong_value_is_named_with_its_place() {
        let config = load("", &[("WEIR_COPIES", "many")], None).unwrap();
        let message = config.read(COPIES, "1", str::parse::<u8>).unwrap_err().to_string();
        assert!(message.starts_with("environment WEIR_COPIES: copies: "), "{message}");
    }
}
