//! What cookies are signed and addresses hashed with: `WEIR_VOTER_SECRET`, or one made at the first start and kept in
//! the spool's folder.
//!
//! Without any secret whoever reads the database could test every address there is. One that is made anew with each
//! start would forget who has voted. Several hosts that serve the same polls need the same, and so the setting.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::poll::ballot::IdentityKey;
use crate::poll::site::Site;

/// The file's name; the spool passes over what is not called `.ballots`.
const FILE: &str = ".web-secret";

/// The secret file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("secret {}: {source} (set WEIR_VOTER_SECRET to do without this file)", path.display())]
pub struct SecretError {
    path: PathBuf,
    source: io::Error,
}

/// The site's key, or the one of the secret file where the site has no secret.
pub(super) fn identity_key(site: &Site) -> Result<IdentityKey, SecretError> {
    if !site.identity_key.is_guessable() {
        return Ok(site.identity_key.clone());
    }
    let path = site.spool.folder().join(FILE);
    let secret = read_or_make(&path).map_err(|source| SecretError { path: path.clone(), source })?;
    tracing::info!("no WEIR_VOTER_SECRET: using the secret in {}", path.display());
    Ok(IdentityKey::new(Some(&secret)))
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
