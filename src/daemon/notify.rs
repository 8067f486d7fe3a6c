//! Telling secondaries that zones have changed (NOTIFY, RFC 1996), and the keys of transfers.
//!
//! ```text
//!  live table ─▶ serials ─▶ one task per secondary ─▶ UDP, signed ─▶ answered? ─ no ─▶ again: 1, 2, 4 .. 60 s
//!  key file, when touched ─▶ keys ─▶ workers, secondaries
//! ```
//!
//! The writer knows nothing of this: the live table is looked at whenever the status moves. After
//! [`ATTEMPTS`] a secondary is left to its refresh timer until the next change. Notifications from others
//! are not taken (NOTIMP): this server is nobody's secondary.

use crate::base::clock::SharedClock;
use crate::daemon::answering::{Live, Transfers};
use crate::daemon::secret_file::{self, SecretFileError};
use crate::daemon::writer::{About, Event};
use crate::dns::TsigKeys;
use crate::dns::tsig::{self, Signer};
use crate::model::status::{Problem, Status};
use crate::model::transfer::{Secondary, TransferConfig};
use crate::zone::name::Name;
use arc_swap::ArcSwap;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, SystemTime};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// How often one change is told to a secondary that does not answer.
const ATTEMPTS: u32 = 9;
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Zones told of in one go.
const BATCH: usize = 64;
/// Without news of the table, how often the key file is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Zones and their serials.
type Serials = Arc<BTreeMap<Name, u32>>;

/// The key file: read again when it was touched.
pub struct KeyFile {
    folder: PathBuf,
    seen: Option<(PathBuf, Option<SystemTime>)>,
    /// What was last said to be wrong with it.
    told: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("the transfer keys: {0}")]
    Unreadable(#[from] SecretFileError),
    #[error("the transfer keys {}, {source}", .file.display())]
    Text { file: PathBuf, source: tsig::KeyTextError },
}

impl KeyFile {
    /// `folder`: where relative paths begin.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), seen: None, told: None }
    }

    /// Brings `keys` up to date; the ones before stay where that fails. `Some`: what is wrong with the file is not
    /// what was told last.
    pub fn refresh(
        &mut self,
        config: Option<&TransferConfig>,
        keys: &ArcSwap<TsigKeys>,
    ) -> Option<Option<String>> {
        let Some(path) = config.and_then(|config| config.keys.as_ref()) else {
            if self.seen.take().is_some() {
                keys.store(Arc::default());
            }
            return self.tell(None);
        };
        let path = self.folder.join(path);
        let stamp = std::fs::metadata(&path).and_then(|it| it.modified()).ok();
        if self.seen.as_ref().is_some_and(|(seen, at)| *seen == path && *at == stamp && stamp.is_some()) {
            return None;
        }
        match read_keys(&path) {
            Ok(read) => {
                keys.store(Arc::new(read));
                self.seen = Some((path, stamp));
                self.tell(None)
            }
            Err(error) => self.tell(Some(error.to_string())),
        }
    }

    fn tell(&mut self, now: Option<String>) -> Option<Option<String>> {
        if self.told == now {
            return None;
        }
        self.told.clone_from(&now);
        Some(now)
    }
}

/// The TSIG keys of transfers in a file.
///
/// # Errors
/// It cannot be read, others may read it too, or it is no text of `key` statements.
pub fn read_keys(file: &Path) -> Result<TsigKeys, KeyFileError> {
    let text = secret_file::read(file, tsig::LONGEST_FILE)?;
    TsigKeys::parse(&text).map_err(|source| KeyFileError::Text { file: file.to_owned(), source })
}

/// Keeps keys and secondaries up to date.
pub struct Notifier {
    live: Live,
    transfers: Transfers,
    key_file: KeyFile,
    status: watch::Receiver<Option<Arc<Status>>>,
    events: SyncSender<Event>,
    clock: SharedClock,
}

/// A secondary's task.
struct Told {
    zones: watch::Sender<Serials>,
    task: JoinHandle<()>,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Notifier {
    /// Reads the keys, so that the first query is answered with them.
    pub fn new(
        live: &Live,
        status: &watch::Receiver<Option<Arc<Status>>>,
        events: &SyncSender<Event>,
        clock: &SharedClock,
        key_file: KeyFile,
    ) -> Self {
        let (live, clock) = (Arc::clone(live), Arc::clone(clock));
        let (status, events) = (status.clone(), events.clone());
        let mut notifier = Self { live, transfers: Transfers::default(), key_file, status, events, clock };
        let (config, _) = notifier.look();
        notifier.refresh_keys(config.as_ref());
        notifier
    }

    /// What the workers share with it.
    pub fn transfers(&self) -> Transfers {
        self.transfers.clone()
    }

    /// Runs until dropped.
    pub async fn run(mut self) {
        let mut told: HashMap<Secondary, Told> = HashMap::new();
        loop {
            let (config, zones) = self.look();
            self.refresh_keys(config.as_ref());
            let secondaries = config.map_or_else(Vec::new, |config| config.secondaries);
            told.retain(|secondary, _| secondaries.contains(secondary));
            for secondary in secondaries {
                let told = told.entry(secondary).or_insert_with_key(|secondary| self.begin(secondary));
                told.zones.send_if_modified(|known| {
                    let is_new = **known != zones;
                    if is_new {
                        *known = Arc::new(zones.clone());
                    }
                    is_new
                });
            }
            tokio::select! {
                changed = self.status.changed() => if changed.is_err() { return },
                () = sleep(LOOK) => {}
            }
        }
    }

    fn refresh_keys(&mut self, config: Option<&TransferConfig>) {
        if let Some(wrong) = self.key_file.refresh(config, &self.transfers.keys) {
            self.report(wrong);
        }
    }
    /// What the live table says, without holding it.
    fn look(&self) -> (Option<TransferConfig>, BTreeMap<Name, u32>) {
        let snapshot = self.live.load();
        let Some(config) = &snapshot.policy.server.transfer else { return (None, BTreeMap::new()) };
        let offered = snapshot.zones.zones.iter().filter(|zone| config.zones.has(&zone.origin.to_string()));
        (Some(config.clone()), offered.map(|zone| (zone.origin.clone(), zone.serial())).collect())
    }

    fn begin(&self, secondary: &Secondary) -> Told {
        let (zones, told) = watch::channel(Serials::default());
        let keys = Arc::clone(&self.transfers.keys);
        let teller =
            Teller { secondary: secondary.clone(), keys, clock: Arc::clone(&self.clock), has_warned: false };
        Told { zones, task: tokio::spawn(teller.run(told)) }
    }

    fn report(&self, wrong: Option<String>) {
        let problem = |message: String| {
            tracing::error!("{message}");
            Problem {
                since: self.clock.wall(),
                code: "transfer-keys-unreadable".to_owned(),
                message,
                help: "write it as `tsig-keygen NAME` does, readable by the account of `rhumb serve` only"
                    .to_owned(),
            }
        };
        let problems = wrong.map(problem).into_iter().collect();
        let _ = self.events.try_send(Event::Problems { about: About::Transfer, problems });
    }
}

/// Tells one secondary.
struct Teller {
    secondary: Secondary,
    keys: Arc<ArcSwap<TsigKeys>>,
    clock: SharedClock,
    has_warned: bool,
}

impl Teller {
    async fn run(mut self, mut zones: watch::Receiver<Serials>) {
        let mut known: BTreeMap<Name, u32> = BTreeMap::new();
        let mut attempt = 0;
        loop {
            let all = Arc::clone(&zones.borrow_and_update());
            let news = all.iter().filter(|(name, serial)| known.get(*name) != Some(*serial)).take(BATCH);
            let news: Vec<(Name, u32)> = news.map(|(name, serial)| (name.clone(), *serial)).collect();
            if news.is_empty() || attempt == ATTEMPTS {
                self.warn(!news.is_empty());
                if zones.changed().await.is_err() {
                    return;
                }
                attempt = 0;
                continue;
            }
            let wait = LONGEST_WAIT.min(Duration::from_secs(1 << attempt.min(6)));
            tokio::select! {
                heard = self.round(&news, wait) => {
                    attempt = if heard.len() == news.len() { 0 } else { attempt + 1 };
                    known.extend(heard);
                }
                changed = zones.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    attempt = 0;
                }
            }
        }
    }

    /// Once for each time that a secondary falls silent.
    fn warn(&mut self, is_silent: bool) {
        if is_silent && !self.has_warned {
            let address = self.secondary.address;
            tracing::warn!("secondary {address} does not answer NOTIFY; it will find changes when it looks");
        }
        self.has_warned = is_silent;
    }

    /// Tells all `news` and gives those that were acknowledged within `wait`; sooner if all were.
    async fn round(&self, news: &[(Name, u32)], wait: Duration) -> Vec<(Name, u32)> {
        let deadline = Instant::now() + wait;
        let mut heard = Vec::new();
        if let Err(error) = self.exchange(news, deadline, &mut heard).await {
            tracing::debug!("cannot notify {}: {error}", self.secondary.address);
        }
        if heard.len() < news.len() {
            sleep_until(deadline).await;
        }
        heard
    }

    async fn exchange(
        &self,
        news: &[(Name, u32)],
        deadline: Instant,
        heard: &mut Vec<(Name, u32)>,
    ) -> std::io::Result<()> {
        let any: SocketAddr = match self.secondary.address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(self.secondary.address).await?;
        let mut open = Vec::new();
        for (name, serial) in news {
            let (message, signer) = self.message(name)?;
            socket.send(&message).await?;
            open.push((message, signer, name, *serial));
        }
        let mut reply = [0; 1_232];
        while !open.is_empty() {
            let Ok(received) = timeout_at(deadline, socket.recv(&mut reply)).await else { break };
            let reply = reply.get(..received?).unwrap_or_default();
            let now = self.clock.wall().0 / 1_000;
            let found =
                open.iter().position(|(message, signer, ..)| is_heard(message, signer.as_ref(), reply, now));
            if let Some(at) = found {
                let (_, _, name, serial) = open.swap_remove(at);
                heard.push((name.clone(), serial));
            }
        }
        Ok(())
    }

    fn message(&self, zone: &Name) -> std::io::Result<(Vec<u8>, Option<Signer>)> {
        let mut id = [0; 2];
        SystemRandom::new().fill(&mut id).map_err(|_| std::io::Error::other("no random numbers"))?;
        let mut message = notification(id, zone);
        let mut signer = match &self.secondary.key {
            None => None,
            Some(name) => {
                let keys = self.keys.load();
                let missing = || std::io::Error::other(format!("there is no key `{name}` in the key file"));
                Some(Signer::of_request(keys.named(name).ok_or_else(missing)?, id))
            }
        };
        signer.iter_mut().for_each(|signer| signer.sign(&mut message, self.clock.wall().0 / 1_000));
        Ok((message, signer))
    }
}

/// Opcode 4 with AA, and the SOA as what changed (RFC 1996 3.6).
fn notification([i0, i1]: [u8; 2], zone: &Name) -> Vec<u8> {
    let head = [i0, i1, 0x24, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&head[..], zone.as_wire(), &[0, 6, 0, 1]].concat()
}

/// Whether a message answers a notification, and says that it was understood.
fn is_heard(message: &[u8], signer: Option<&Signer>, reply: &[u8], now: u64) -> bool {
    let is_reply = reply.len() >= 12 && reply[..2] == message[..2] && reply[2] & 0xf8 == 0xa0;
    let is_proven =
        signer.is_none_or(|signer| tsig::find(reply).is_some_and(|at| signer.accepts(reply, at, now)));
    is_reply && reply[3] & 0x0f == 0 && is_proven
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::dnssec::SignedZones;
    use std::os::unix::fs::PermissionsExt;

    const KEYS: &str = "key k { algorithm hmac-sha256; secret \"MTIzNDU2Nzg5MDEyMzQ1Ng==\"; };";

    fn set_mode(file: &Path, mode: u32) {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).expect("permissions");
    }

    #[test]
    fn a_key_file_for_its_owner_is_read_and_others_are_told_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("keys");
        let config = TransferConfig {
            zones: SignedZones::All,
            zones_span: Default::default(),
            allow: Vec::new(),
            keys: Some("keys".into()),
            keys_span: crate::base::diagnostic::Span::default(),
            secondaries: Vec::new(),
        };
        let (mut key_file, keys) = (KeyFile::new(folder.path()), ArcSwap::<TsigKeys>::default());
        let mut look = || key_file.refresh(Some(&config), &keys);
        assert!(look().flatten().is_some_and(|it| it.starts_with("the transfer keys: cannot read")));
        assert_eq!(look(), None, "told already");
        std::fs::write(&file, KEYS).expect("writes");
        set_mode(&file, 0o640);
        assert!(look().flatten().is_some_and(|it| it.contains("can be read by others than its owner")));
        assert!(keys.load().named("k").is_none());
        set_mode(&file, 0o600);
        assert_eq!(look(), Some(None), "mended");
        assert!(keys.load().named("k").is_some());
        std::fs::remove_file(&file).expect("removes");
        assert!(look().flatten().is_some());
        assert!(keys.load().named("k").is_some(), "the keys read before go on");
    }

    #[tokio::test]
    async fn a_secondary_that_is_silent_at_first_is_told_again() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let address = socket.local_addr().expect("bound");
        let secondary = Secondary { address, key: None };
        let clock: SharedClock = Arc::new(crate::base::clock::SystemClock::new());
        let teller = Teller { secondary, keys: Arc::default(), clock, has_warned: false };
        let zone = Name::parse_text("z.test").expect("a name");
        let (zones, told) = watch::channel(Arc::new(BTreeMap::from([(zone.clone(), 5)])));
        let task = tokio::spawn(teller.run(told));
        let mut heard = [0; 512];
        for attempt in 0..2 {
            let (len, from) = socket.recv_from(&mut heard).await.expect("a message");
            assert_eq!(heard[2..len], notification([0, 0], &zone)[2..], "attempt {attempt}");
            if attempt == 1 {
                heard[2] |= 0x80;
                socket.send_to(&heard[..len], from).await.expect("answers");
            }
        }
        // The next message is about the next serial, since this one was acknowledged.
        zones.send_replace(Arc::new(BTreeMap::from([(zone, 6)])));
        let (len, _) = socket.recv_from(&mut heard).await.expect("a message");
        assert_eq!(len, 12 + 8 + 4);
        task.abort();
    }
}
