//! Disk: the policy folder and its changes, geo databases, and the last good state.
//!
//! | file | holds |
//! |---|---|
//! | [`policy_dir`] | reads a policy folder into source texts |
//! | [`policy_write`] | replaces its texts as one step |
//! | [`watch`] | says when that folder changed |
//! | [`sealed`] | files that a crash cannot half-write and a truncation cannot hide in |
//! | [`state_dir`] | the last good inputs and the last good table, kept in `state/` |
//! | [`geo_table`] | the compiled geo table, kept there too |
//! | [`backup`] | the state folder as one file, and back |
//! | [`journal`] | what was decided and on what, generation by generation |
//! | [`tokens`] | who may use the admin address from elsewhere |
//! | [`saved_table`] | the shape of the last good table on disk |
//!
//! Nothing here judges content: texts go to `policy`, bytes to `geo`.

pub mod backup;
pub mod geo_table;
pub mod journal;
pub mod policy_dir;
pub mod policy_write;
pub mod saved_table;
pub mod sealed;
pub mod state_dir;
pub mod tokens;
pub mod watch;
