//! The voter secret: which one a process uses, and whether it is the one of the polls.
//!
//! A process uses the configured secret (`WEIR_VOTER_SECRET`), else the one in the spool folder's file, else none. Only
//! the web service makes that file, at its first start: without a secret, whoever reads the database could test every
//! address there is, and a secret that is new with each start would forget who has voted. Commands on the same host
//! then use the same secret.
//!
//! Two processes with different secrets would count one voter twice. So the database keeps a *fingerprint* of the
//! secret, stored by the first process with a secret that creates a poll or serves. It is published with each
//! definition, and a process with another secret, or with none, refuses to vote, to flush and to create. A database
//! without a fingerprint refuses nobody.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::{self, Store};

use super::ballot::{IdentityKey, Refusal};
use super::site::Site;

/// The file's name; the spool passes over what is not called `.ballots`.
const FILE: &str = ".web-secret";

/// The secret file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("secret {} cannot be used (set WEIR_VOTER_SECRET to do without this file): {source}", path.display())]
pub struct SecretError {
    path: PathBuf,
    source: io::Error,
}

/// The same site with the key that its processes use.
///
/// # Errors
/// [`SecretError`] when the secret file is there and cannot be read.
pub fn find(site: Site) -> Result<Site, SecretError> {
    resolve(site, |path| match read(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        secret => secret.map(Some),
    })
}

/// The same, and makes the secret file where there is no secret.
///
/// # Errors
/// [`SecretError`].
pub fn find_or_make(site: Site) -> Result<Site, SecretError> {
    resolve(site, |path| read_or_make(path).map(Some))
}

fn resolve(site: Site, read: impl FnOnce(&Path) -> io::Result<Option<String>>) -> Result<Site, SecretError> {
    if !site.identity_key.is_guessable() {
        return Ok(site);
    }
    let path = site.spool.folder().join(FILE);
    let Some(secret) = read(&path).map_err(|source| SecretError { path: path.clone(), source })? else {
        return Ok(site);
    };
    tracing::info!("no WEIR_VOTER_SECRET: using the secret in {}", path.display());
    Ok(Site { identity_key: IdentityKey::new(Some(&secret)), ..site })
}

/// 64 bits that tell one secret from another, or nothing for a key without a secret.
///
/// Whoever sees them can test guesses of a weak secret, as whoever sees the ballot of a known voter can, and no faster:
/// a guess costs two runs of BLAKE3's compression in both cases, because the fingerprint is derived from the derived key
/// and not from the secret. They are no part of any identity.
pub fn fingerprint(key: &IdentityKey) -> Option<u64> {
    let derived = key.derive("weir voter secret fingerprint v1");
    derived.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)).filter(|_| !key.is_guessable())
}

/// Refuses a process with the fingerprint `ours` if the votes of `of`, a poll or a database, are made with the secret
/// of another fingerprint.
///
/// # Errors
/// [`Refusal::OtherSecret`].
pub fn compare(ours: Option<u64>, theirs: Option<u64>, of: impl FnOnce() -> String) -> Result<(), Refusal> {
    match theirs {
        Some(_) if ours != theirs => Err(Refusal::OtherSecret { of: of(), missing: ours.is_none() }),
        _ => Ok(()),
    }
}

/// Whether a vote is refused for a setting of the process, and every further one would be.
pub fn is_wrong_setting(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::OtherSecret { .. } | Refusal::OtherDatabase(_))
}

/// Why a database's secret could not be checked, or was found to be another one.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// [`Refusal::OtherSecret`].
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Refuses a database whose ballots are made with another secret.
///
/// # Errors
/// [`CheckError`].
pub fn check(store: &mut dyn Store, key: &IdentityKey) -> Result<(), CheckError> {
    let theirs = store.properties()?.secret_fingerprint;
    Ok(compare(fingerprint(key), theirs, || format!("database {}", store.name()))?)
}

/// The same, and stores the fingerprint of the key's secret where the database has none.
///
/// # Errors
/// [`CheckError`].
pub fn check_or_keep(store: &mut dyn Store, key: &IdentityKey) -> Result<(), CheckError> {
    let ours = fingerprint(key);
    let theirs = match (store.properties()?.secret_fingerprint, ours) {
        (None, Some(ours)) => Some(store.keep_secret_fingerprint(ours)?),
        (theirs, _) => theirs,
    };
    Ok(compare(ours, theirs, || format!("database {}", store.name()))?)
}

/// The same on a site's database, opened for this alone; `patience` bounds each of its answers.
///
/// # Errors
/// [`CheckError`].
pub fn keep(site: &Site, patience: Duration) -> Result<(), CheckError> {
    check_or_keep(store::open(&site.database, patience)?.as_mut(), &site.identity_key)
}

fn read_or_make(path: &Path) -> io::Result<String> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let secret = blake3::Hash::from_bytes(rand::random()).to_hex();
    // Two that start at one moment must end with one secret: the file appears whole, and the first stays.
    let temporary = path.with_extension(uuid::Uuid::now_v7().simple().to_string());
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let made = writeln!(file, "{secret}").and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&temporary, path));
    fs::remove_file(&temporary)?;
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => read(path),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let text = fs::read_to_string(path)?;
    let secret = text.trim();
    if secret.is_empty() { Err(io::Error::other("the file is empty")) } else { Ok(secret.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_then_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool").join(FILE);
        let made = read_or_make(&path).unwrap();
        assert_eq!((made.len(), read_or_make(&path).unwrap()), (64, made));
        assert_eq!(fs::read_dir(folder.path().join("spool")).unwrap().count(), 1);
        fs::write(&path, "\n").unwrap();
        assert!(read_or_make(&path).is_err());
    }
}
