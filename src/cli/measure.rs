//! `rhumb measure`: makes the keys and passes of clients that measure.

use crate::base::clock::{Clock, SystemClock};
use crate::cli::{chain, duration, random};
use crate::daemon::measuring::read_keys;
use crate::measure::pass::{self, LEAST_KEY, LONGEST_S};
use crate::policy::scalars::duration_text;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Make the keys and passes of clients that report what they measure
///
/// Clients report round trips to `measure:` of rhumb.yaml with `POST /measure`, and are counted as of the network
/// that they connect from. A pass lets one be counted as of another: a back end that knows its client's address
/// makes it one, with a key that it shares with rhumb (docs/latency.md has the format).
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb measure key player >> policies/passes && chmod 600 policies/passes
  rhumb measure pass --keys policies/passes --key player \\
      --client 203.0.113.7 --for 1h
  curl https://dns.example.net:8854/measure -H \"Authorization: Bearer $PASS\" \\
      -d '{\"node\": \"tyo-1\", \"rtt_ms\": 41.5}'")]
pub struct MeasureArgs {
    #[command(subcommand)]
    make: Make,
}

#[derive(clap::Subcommand)]
enum Make {
    /// Make a key: a line for the file that `passes:` names
    Key {
        /// To tell keys apart
        name: String,
    },
    /// Make a pass for the clients of a network
    Pass {
        /// File of keys
        #[arg(long, value_name = "FILE")]
        keys: PathBuf,
        /// Name of the key that signs it
        #[arg(long, value_name = "NAME")]
        key: String,
        /// An address of the network: its /24 or /56 counts
        #[arg(long, value_name = "ADDR")]
        client: IpAddr,
        /// How long it is valid, at most 168h
        #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = validity)]
        lasting: Duration,
    },
}

fn validity(text: &str) -> Result<Duration, String> {
    let lasting = duration(text)?;
    let longest = Duration::from_secs(LONGEST_S);
    match (Duration::from_secs(1)..=longest).contains(&lasting) {
        true => Ok(lasting),
        false => Err(format!("between 1s and {}", duration_text(longest))),
    }
}

impl MeasureArgs {
    pub fn run(&self) -> ExitCode {
        let made = match &self.make {
            Make::Key { name } => make_key(name),
            Make::Pass { keys, key, client, lasting } => {
                read_keys(keys).map_err(|error| chain(&error)).and_then(|known| {
                    let names = || known.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ");
                    known
                        .iter()
                        .find(|known| known.name == *key)
                        .ok_or_else(|| format!("{} has no key `{key}`, but {}", keys.display(), names()))
                        .map(|key| {
                            let expires = SystemClock::new().wall().0 / 1_000 + lasting.as_secs();
                            key.issue(pass::network_of(*client), expires)
                        })
                })
            }
        };
        match made {
            Ok(line) => {
                println!("{line}");
                ExitCode::SUCCESS
            }
            Err(message) => {
                eprintln!("rhumb: {message}");
                ExitCode::from(2)
            }
        }
    }
}

fn make_key(name: &str) -> Result<String, String> {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
        return Err(format!("`{name}` is no name for a key: letters, digits, `-` and `_`"));
    }
    Ok(format!("{name} {}", data_encoding::BASE64URL_NOPAD.encode(&random::<LEAST_KEY>()?)))
}
