//! Key files in the form of BIND's tools, so that those read them too.
//!
//! ```text
//!  Kexample.com.+013+24650.key        ; comments    example.com. 3600 IN DNSKEY 257 3 13 <base64>
//!  Kexample.com.+013+24650.private    Private-key-format: v1.3 / Algorithm: 13 (..) / PrivateKey: <base64>
//!                                     / Created: 20261121050939 / Publish: .. / Activate: ..
//! ```
//!
//! Folder 0700, files 0600; a private key that others can read is refused, since nobody can tell
//! who has it by now. Files are written whole (temporary file, sync, rename). Bounded: files of at
//! most 64 KiB, 4,096 entries of a folder.

use super::key::{KEY_TTL, Key, Role, dnskey, origin, tag};
use super::secret::{self, Secret, SecretError, SecretOctets};
use super::times::{self, KeyTimes};
use crate::model::dnssec::Algorithm;
use crate::zone::name::Name;
use data_encoding::BASE64;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

const MAX_FILE_BYTES: u64 = 64 << 10;
const MAX_ENTRIES: usize = 4_096;
/// Keys of one tag and zone that are drawn before giving up on a free one.
const MAX_DRAWS: usize = 16;

/// Why keys could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("there is no key folder `{}`: make keys with `rhumb keys generate ZONE`", .0.display())]
    NoFolder(PathBuf),
    #[error("cannot {what} `{}`", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("`{}` can be read by others (mode {mode:04o}): run `chmod {remedy:o} {}`, and replace the keys if others may have read them", path.display(), path.display())]
    Exposed { path: PathBuf, mode: u32, remedy: u32 },
    #[error("more than {MAX_ENTRIES} entries in the key folder `{}`", .0.display())]
    TooMany(PathBuf),
    #[error("cannot use the key file `{}`: {what}", path.display())]
    Malformed { path: PathBuf, what: &'static str },
    #[error("cannot use the key `{}`", path.display())]
    Secret { path: PathBuf, source: SecretError },
    #[error("cannot make a key for `{zone}`")]
    Generate { zone: Name, source: SecretError },
    #[error("the zone name `{0}` has characters that key files cannot have in their names")]
    ZoneName(Name),
    #[error("no free key tag was found for `{0}`: remove key files that are not used any more")]
    NoTag(Name),
}

/// A folder of keys.
#[derive(Clone, Debug)]
pub struct KeyFolder {
    folder: PathBuf,
}

impl KeyFolder {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Every key in the folder, by zone, then oldest first. Keys of algorithms that rhumb does not sign
    /// with are passed over.
    pub fn read(&self) -> Result<Vec<Key>, KeyFileError> {
        let mut keys = Vec::new();
        for path in self.private_files()? {
            keys.extend(read_key(&path)?);
        }
        keys.sort_by(|a, b| {
            (&a.zone, a.times.created, a.flags, a.tag()).cmp(&(&b.zone, b.times.created, b.flags, b.tag()))
        });
        Ok(keys)
    }

    /// Makes a key and writes its files.
    pub fn generate(
        &self,
        zone: &Name,
        algorithm: Algorithm,
        role: Role,
        times: KeyTimes,
    ) -> Result<Key, KeyFileError> {
        self.create()?;
        let taken: Vec<(u16, u8)> = self
            .read()?
            .iter()
            .filter(|key| key.zone == *zone)
            .map(|key| (key.tag(), key.algorithm.number()))
            .collect();
        for _ in 0..MAX_DRAWS {
            let failed = |source| KeyFileError::Generate { zone: zone.clone(), source };
            let (octets, public) = secret::generate(algorithm).map_err(failed)?;
            let rdata = dnskey(role.flags(), algorithm, &public);
            // RFC 4034 allows two keys of one tag; validators then try both, and people mix them up.
            if taken.contains(&(tag(&rdata), algorithm.number())) {
                continue;
            }
            let secret = Arc::new(Secret::read(algorithm, &octets, &public).map_err(failed)?);
            let zone = zone.clone();
            let key = Key { zone, flags: role.flags(), algorithm, public: public.into(), times, secret };
            self.write(&key, &octets)?;
            return Ok(key);
        }
        Err(KeyFileError::NoTag(zone.clone()))
    }

    /// Replaces the times in a key's files.
    pub fn retime(&self, key: &Key, times: KeyTimes) -> Result<(), KeyFileError> {
        let path = self.path_of(key, "private")?;
        let (_, octets) = read_private(&path)?;
        self.write(&Key { times, ..key.clone() }, &octets)
    }

    fn write(&self, key: &Key, octets: &SecretOctets) -> Result<(), KeyFileError> {
        // The public file first: a private file without it would be refused at the next reading.
        write_file(&self.path_of(key, "key")?, public_text(key).as_bytes())?;
        write_file(&self.path_of(key, "private")?, private_text(key, octets).as_bytes())
    }

    fn path_of(&self, key: &Key, ending: &str) -> Result<PathBuf, KeyFileError> {
        let origin = origin(&key.zone);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !origin.chars().all(is_plain) {
            return Err(KeyFileError::ZoneName(key.zone.clone()));
        }
        let name = format!("K{origin}+{:03}+{:05}.{ending}", key.algorithm.number(), key.tag());
        Ok(self.folder.join(name))
    }

    fn create(&self) -> Result<(), KeyFileError> {
        let failed = |source| KeyFileError::Io { what: "make", path: self.folder.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(failed)?;
        refuse_exposed(&self.folder, 0o700)
    }

    fn private_files(&self) -> Result<Vec<PathBuf>, KeyFileError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeyFileError::NoFolder(self.folder.clone()),
            _ => KeyFileError::Io { what: "read", path: self.folder.clone(), source },
        };
        let entries = fs::read_dir(&self.folder).map_err(failed)?;
        refuse_exposed(&self.folder, 0o700)?;
        let mut paths = Vec::new();
        for (count, entry) in entries.enumerate() {
            if count >= MAX_ENTRIES {
                return Err(KeyFileError::TooMany(self.folder.clone()));
            }
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with('K') && name.ends_with(".private") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }
}

/// Refuses what its group or the world may read or write.
fn refuse_exposed(path: &Path, remedy: u32) -> Result<(), KeyFileError> {
    let failed = |source| KeyFileError::Io { what: "look at", path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(failed)?.mode() & 0o7777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(KeyFileError::Exposed { path: path.to_owned(), mode, remedy })
    }
}

/// One key; `None` if its algorithm is not one of ours.
fn read_key(private: &Path) -> Result<Option<Key>, KeyFileError> {
    refuse_exposed(private, 0o600)?;
    let public = private.with_extension("key");
    let (zone, rdata) = parse_public(&read_file(&public)?)
        .ok_or(KeyFileError::Malformed { path: public, what: "it holds no DNSKEY record of one zone" })?;
    let Some((flags, number, key)) = split_dnskey(&rdata) else { return Ok(None) };
    let Some(algorithm) = Algorithm::of_number(number) else { return Ok(None) };
    let (times, octets) = read_private(private)?;
    let secret = Secret::read(algorithm, &octets, key)
        .map_err(|source| KeyFileError::Secret { path: private.to_owned(), source })?;
    Ok(Some(Key { zone, flags, algorithm, public: key.into(), times, secret: Arc::new(secret) }))
}

fn split_dnskey(rdata: &[u8]) -> Option<(u16, u8, &[u8])> {
    let [high, low, _, algorithm, key @ ..] = rdata else { return None };
    Some((u16::from_be_bytes([*high, *low]), *algorithm, key))
}

/// `owner [ttl] [IN] DNSKEY flags protocol algorithm base64...`
fn parse_public(text: &str) -> Option<(Name, Vec<u8>)> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(';'))?;
    let line = line.split(';').next()?;
    let mut words = line.split_whitespace();
    let zone = Name::parse_text(words.next()?).ok()?;
    words.by_ref().find(|word| word.eq_ignore_ascii_case("DNSKEY"))?;
    let flags: u16 = words.next()?.parse().ok()?;
    let protocol: u8 = words.next()?.parse().ok()?;
    let algorithm: u8 = words.next()?.parse().ok()?;
    let key = BASE64.decode(words.collect::<String>().as_bytes()).ok()?;
    let mut rdata = flags.to_be_bytes().to_vec();
    rdata.extend([protocol, algorithm]);
    rdata.extend(key);
    Some((zone, rdata))
}

fn read_private(path: &Path) -> Result<(KeyTimes, SecretOctets), KeyFileError> {
    let text = read_file(path)?;
    let malformed = |what| KeyFileError::Malformed { path: path.to_owned(), what };
    let mut times = KeyTimes::default();
    let mut octets = None;
    for (field, value) in text.lines().filter_map(|line| line.split_once(':')) {
        if field == "PrivateKey" {
            let mut key: SecretOctets = Zeroizing::new([0; secret::SECRET_LEN]);
            let decoded = BASE64.decode(value.trim().as_bytes()).map(Zeroizing::new);
            let decoded = decoded.map_err(|_| malformed("its PrivateKey is not base64"))?;
            if decoded.len() != key.len() {
                return Err(malformed("its PrivateKey is not 32 octets"));
            }
            key.copy_from_slice(&decoded);
            octets = Some(key);
        } else if let Some((_, place)) = times.fields().into_iter().find(|(name, _)| *name == field) {
            let moment = times::parse(value).ok_or(malformed("a time is not YYYYMMDDHHMMSS"))?;
            *place = Some(moment);
        }
    }
    Ok((times, octets.ok_or(malformed("it has no PrivateKey line"))?))
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let failed = |source| KeyFileError::Io { what: "read", path: path.to_owned(), source };
    let mut text = Zeroizing::new(String::with_capacity(4_096));
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn public_text(key: &Key) -> String {
    let origin = origin(&key.zone);
    let kind = if key.is_sep() { "key" } else { "zone" };
    let mut text = format!("; This is a {kind}-signing key, keyid {}, for {origin}\n", key.tag());
    let mut all = key.times;
    for (name, moment) in all.fields() {
        if let Some(moment) = *moment {
            text += &format!("; {name}: {} ({})\n", times::text(moment), times::readable(moment));
        }
    }
    let (flags, number) = (key.flags, key.algorithm.number());
    text + &format!("{origin} {KEY_TTL} IN DNSKEY {flags} 3 {number} {}\n", BASE64.encode(&key.public))
}

fn private_text(key: &Key, octets: &SecretOctets) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(1_024));
    let (number, name) = (key.algorithm.number(), key.algorithm.name().to_uppercase());
    text.push_str(&format!("Private-key-format: v1.3\nAlgorithm: {number} ({name})\nPrivateKey: "));
    BASE64.encode_append(octets.as_slice(), &mut text);
    text.push('\n');
    let mut all = key.times;
    for (name, moment) in all.fields() {
        if let Some(moment) = *moment {
            text.push_str(&format!("{name}: {}\n", times::text(moment)));
        }
    }
    text
}

/// Whole or not at all, for the owner alone from the first byte.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    let failed = |source| KeyFileError::Io { what: "write", path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        // A file left over from a crash may have had another mode.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, KeyFolder) {
        let outer = tempfile::tempdir().expect("a temporary folder");
        let keys = KeyFolder::new(&outer.path().join("keys"));
        (outer, keys)
    }

    fn example() -> Name {
        Name::parse_text("example.com").expect("a name")
    }

    #[test]
    fn keys_are_read_as_they_were_made_and_only_by_their_owner() {
        let (_outer, keys) = folder();
        assert!(matches!(keys.read(), Err(KeyFileError::NoFolder(_))));
        let times = KeyTimes { created: Some(1_000), publish: Some(2_000), ..KeyTimes::default() };
        let made = keys.generate(&example(), Algorithm::Ed25519, Role::Csk, times).expect("made");
        let read = keys.read().expect("read");
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].dnskey(), read[0].times), (made.dnskey(), times));
        let later = KeyTimes { delete: Some(3_000), ..times };
        keys.retime(&read[0], later).expect("retimed");
        assert_eq!(keys.read().expect("read")[0].times, later);
        for entry in fs::read_dir(keys.path()).expect("listed") {
            let mode = entry.expect("an entry").metadata().expect("metadata").mode() & 0o777;
            assert_eq!(mode, 0o600);
        }
        let private = keys.path_of(&made, "private").expect("a path");
        fs::set_permissions(&private, fs::Permissions::from_mode(0o640)).expect("chmod");
        let refused = keys.read().expect_err("exposed").to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
        fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).expect("chmod");
        fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        assert!(keys.read().expect_err("exposed").to_string().contains("chmod 700"));
    }

    #[test]
    fn broken_files_are_named() {
        let (_outer, keys) = folder();
        let key = keys.generate(&example(), Algorithm::EcdsaP256Sha256, Role::Zsk, KeyTimes::default());
        let private = keys.path_of(&key.expect("made"), "private").expect("a path");
        let text = fs::read_to_string(&private).expect("text");
        for (from, to, what) in [
            ("PrivateKey: ", "PrivateKey: !", "not base64"),
            ("PrivateKey: ", "Other: ", "no PrivateKey"),
            ("PrivateKey: ", "Activate: soon\nPrivateKey: ", "YYYYMMDDHHMMSS"),
        ] {
            fs::write(&private, text.replace(from, to)).expect("written");
            let error = keys.read().expect_err("broken").to_string();
            assert!(error.contains(what), "{error}");
        }
        let other = BASE64.encode(&[7; 32]);
        let wrong: String = text
            .lines()
            .map(|line| match line.starts_with("PrivateKey") {
                true => format!("PrivateKey: {other}\n"),
                false => format!("{line}\n"),
            })
            .collect();
        fs::write(&private, wrong).expect("written");
        assert!(matches!(keys.read(), Err(KeyFileError::Secret { source: SecretError::Mismatch, .. })));
        fs::remove_file(private.with_extension("key")).expect("removed");
        assert!(matches!(keys.read(), Err(KeyFileError::Io { .. })));
    }

    #[test]
    fn names_that_are_no_file_names_are_refused() {
        let (_outer, keys) = folder();
        let zone = Name::parse_text("a/b.test").expect("a name");
        let refused = keys.generate(&zone, Algorithm::Ed25519, Role::Csk, KeyTimes::default());
        assert!(matches!(refused, Err(KeyFileError::ZoneName(_))));
    }
}
