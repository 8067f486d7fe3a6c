//! Writes the compiled geo table to the state folder, on a thread of its own.
//!
//! Several megabytes are frozen, written and synced: the keeper, for whose serials a table may wait,
//! does not do it itself. One table waits at most, the newest; what could not be written is told in
//! the log and left, because the file saves time and nothing else.

use crate::daemon::inputs::CompiledGeo;
use crate::geo::frozen::{self, Key};
use crate::store::geo_table::GeoTableFile;
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// The handle of the thread, which ends, its last table written, before this is gone.
pub struct GeoKeeper {
    desk: Arc<ArcSwapOption<CompiledGeo>>,
    /// Room for one: a bell that rings already need not be rung.
    bell: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl GeoKeeper {
    /// A keeper for `file`. Without a thread nothing is kept, and everything else works.
    pub fn start(file: GeoTableFile) -> Self {
        let (bell, rings) = sync_channel(1);
        let desk = Arc::default();
        let at = Arc::clone(&desk);
        let thread = std::thread::Builder::new().name("geo-keeper".to_owned());
        let thread = thread.spawn(move || run(&file, &at, &rings));
        if let Err(error) = &thread {
            tracing::warn!("compiled geo tables are not kept: cannot start a thread: {error}");
        }
        Self { desk, bell: Some(bell), thread: thread.ok() }
    }

    /// Has it written, unless the file holds it already. Does not wait.
    pub fn keep(&self, geo: Arc<CompiledGeo>) {
        self.desk.store(Some(geo));
        if let Some(bell) = &self.bell {
            let _ = bell.try_send(());
        }
    }
}

impl Drop for GeoKeeper {
    /// A successor may write the file next, and there is to be one writer.
    fn drop(&mut self) {
        self.bell = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the geo keeper had died; please report it");
        }
    }
}

fn run(file: &GeoTableFile, desk: &ArcSwapOption<CompiledGeo>, rings: &Receiver<()>) {
    let mut kept: Option<Key> = None;
    while rings.recv().is_ok() {
        let Some(geo) = desk.swap(None) else { continue };
        if geo.is_recalled {
            kept.get_or_insert(geo.key);
        }
        if kept == Some(geo.key) {
            continue;
        }
        match frozen::freeze(&geo.table, &geo.notes, geo.key).map(|bytes| file.write(&bytes)) {
            Some(Ok(())) => kept = Some(geo.key),
            Some(Err(error)) => {
                kept = None;
                tracing::warn!(
                    "cannot keep the compiled geo table in {}: {error}; the next start compiles it again",
                    file.path().display()
                );
            }
            None => tracing::info!("the compiled geo table is too large to keep: each start compiles it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::inputs::{Loader, StateFolder};
    use std::path::Path;

    const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/geo-data/country.mmdb");

    fn write(folder: &Path, path: &str, text: &str) {
        std::fs::write(folder.join(path), text).expect("writes");
    }

    /// Loads as a start does, and keeps what was compiled.
    fn start(folder: &Path) -> Arc<CompiledGeo> {
        let mut loader = Loader::new(folder).recalling(StateFolder::Configured);
        let loaded = loader.load();
        let inputs = loaded.inputs.unwrap_or_else(|| panic!("{:?}", loaded.refusals));
        let keeper = GeoKeeper::start(GeoTableFile::inside(&inputs.policy.server.state_dir));
        keeper.keep(Arc::clone(&inputs.compiled));
        inputs.compiled
    }

    #[test]
    fn what_was_compiled_is_recalled_until_something_differs() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (at, state) = (folder.path(), folder.path().join("kept"));
        std::fs::create_dir(&state).expect("creates");
        write(at, "fleet.yaml", "version: 1\nregions: {}\nsites: {}\nnodes: {}\n");
        let server = format!("version: 1\nstate: {}\ngeo: [country.mmdb]\n", state.display());
        write(at, "rhumb.yaml", &server);
        std::fs::copy(SHIPPED, at.join("country.mmdb")).expect("copies");
        let first = start(at);
        assert!(!first.is_recalled);
        let second = start(at);
        assert!(second.is_recalled && second.key == first.key);
        assert_eq!(second.table.groups(), first.table.groups());
        // Other clients: compiled, kept in its place, recalled.
        write(at, "clients.yaml", "version: 1\nareas: {europe: {continents: [EU]}}\n");
        let edited = start(at);
        assert!(!edited.is_recalled && edited.key != first.key);
        assert!(start(at).is_recalled);
        // A file that is not what was kept is compiled over.
        let path = GeoTableFile::inside(&state).path();
        let whole = std::fs::read(&path).expect("reads");
        let mut bent = whole.clone();
        bent[whole.len() / 2] ^= 1;
        for damaged in [&bent[..], &whole[..whole.len() / 2], b""] {
            std::fs::write(&path, damaged).expect("writes");
            assert!(!start(at).is_recalled);
            assert_eq!(std::fs::read(&path).expect("reads"), whole);
        }
        // Another database under the same name.
        let shorter =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/geo-data/asn.mmdb")).expect("reads");
        std::fs::write(at.join("country.mmdb"), shorter).expect("writes");
        assert!(!start(at).is_recalled);
    }

    #[test]
    fn a_policy_edit_after_a_recalled_start_opens_the_databases_after_all() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = folder.path();
        write(at, "fleet.yaml", "version: 1\nregions: {}\nsites: {}\nnodes: {}\n");
        write(at, "rhumb.yaml", &format!("version: 1\nstate: {}\ngeo: [country.mmdb]\n", at.display()));
        std::fs::copy(SHIPPED, at.join("country.mmdb")).expect("copies");
        start(at);
        let mut loader = Loader::new(at).recalling(StateFolder::Given(at.to_owned()));
        let warm = loader.load().inputs.expect("good inputs").compiled;
        assert!(warm.is_recalled);
        write(at, "clients.yaml", "version: 1\nareas: {europe: {continents: [EU]}}\n");
        // While the file is broken the last good databases serve, although nobody has opened them yet.
        std::fs::write(at.join("country.mmdb"), b"broken").expect("writes");
        let loaded = loader.load();
        assert_eq!(loaded.refusals.len(), 1, "{:?}", loaded.refusals);
        let edited = loaded.inputs.expect("the last good databases").compiled;
        assert!(!edited.is_recalled && edited.table.groups().len() > warm.table.groups().len());
    }
}
