//! `rhumb geo build`: makes the databases of `geo-data/` from Debian's packages.
//!
//! This file reads the inputs, shows progress and writes the results; what becomes of the bytes is
//! [`crate::geo::build`]. Nothing is fetched from a network: the recipe names packages that any
//! Debian mirror has, so that the result can be made again by anyone.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use crate::base::clock::WallTime;
use crate::geo::build::{self, BuildError, Built, countries, libloc, tor};

const RECIPE: &str = "\
The recipe, on Debian or anything derived from it:

  apt-get install tor-geoipdb libloc-database location tzdata
  location dump > dump.txt
  rhumb geo build \\
      --tor /usr/share/tor/geoip --tor6 /usr/share/tor/geoip6 \\
      --libloc-dump dump.txt --tzdata /usr/share/zoneinfo --out geo-data

country.mmdb  from the newer of the two sources (--country-from chooses one), by the date in
              their headers
asn.mmdb      from the dump, the only one of them that knows autonomous systems
countries.csv from tzdata's iso3166.tab and zone.tab

The same input gives the same bytes: a file's build date is its source's date. The data is that
of the IPFire Location Database, CC BY-SA 4.0, and so are the databases made from it.

Exit status: 0 built, 1 an input was refused, 2 a file could not be read or written.";

/// Build country.mmdb, asn.mmdb and countries.csv from Debian's packages
#[derive(clap::Args, Debug)]
#[command(after_long_help = RECIPE, after_help = "`--help` shows the recipe.")]
pub struct GeoBuildArgs {
    /// IPv4 ranges of the tor-geoipdb package
    #[arg(long, value_name = "FILE", required_unless_present_any = ["libloc_dump", "tzdata"])]
    tor: Option<PathBuf>,
    /// IPv6 ranges of the tor-geoipdb package
    #[arg(long, value_name = "FILE", requires = "tor")]
    tor6: Option<PathBuf>,
    /// What `location dump` printed
    #[arg(long, value_name = "FILE")]
    libloc_dump: Option<PathBuf>,
    /// Which source the countries come from
    #[arg(long, value_enum, value_name = "SOURCE", default_value_t = CountrySource::Newest)]
    country_from: CountrySource,
    /// Folder with tzdata's iso3166.tab and zone.tab; also writes countries.csv
    #[arg(long, value_name = "DIR")]
    tzdata: Option<PathBuf>,
    /// Folder to write to; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum CountrySource {
    /// The one whose header has the later date
    Newest,
    /// The files of tor-geoipdb
    Tor,
    /// The dump of libloc-database
    Libloc,
}

/// Why the command stopped.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot {verb} {path}: {source}")]
    File { verb: &'static str, path: String, source: io::Error },
    #[error("{path}: {source}")]
    Refused { path: String, source: BuildError },
    #[error("--country-from {wanted} needs {flag}")]
    Missing { wanted: &'static str, flag: &'static str },
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(if matches!(self, Failure::File { .. }) { 2 } else { 1 })
    }
}

impl GeoBuildArgs {
    /// Builds what the arguments allow and prints a line about each file.
    pub fn run(&self) -> ExitCode {
        match self.build() {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                let _ = writeln!(io::stderr(), "error: {failure}");
                failure.exit_code()
            }
        }
    }

    fn build(&self) -> Result<(), Failure> {
        let steps = Steps::new();
        let tor = self.tor.as_deref().map(|v4| read_tor(&steps, v4, self.tor6.as_deref())).transpose()?;
        let dump = self.libloc_dump.as_deref().map(|path| read_dump(&steps, path)).transpose()?;
        fs::create_dir_all(&self.out).map_err(at("make", &self.out))?;
        if let Some(country) = self.country(&steps, tor.as_ref(), dump.as_ref())? {
            self.write(&steps, "country.mmdb", &country.bytes)?;
            steps.done("country.mmdb", &country);
        }
        if let (Some(dump), Some(path)) = (&dump, &self.libloc_dump) {
            let asn =
                steps.spin("building asn.mmdb", || build::asn_from_libloc(dump)).map_err(refused(path))?;
            self.write(&steps, "asn.mmdb", &asn.bytes)?;
            steps.done("asn.mmdb", &asn);
        }
        if let Some(folder) = &self.tzdata {
            let csv = countries_csv(folder)?;
            self.write(&steps, "countries.csv", csv.as_bytes())?;
            let rows = csv.lines().filter(|line| !line.starts_with('#')).count().saturating_sub(1);
            steps.say(&format!("countries.csv: {rows} countries"));
        }
        Ok(())
    }

    fn country(
        &self,
        steps: &Steps,
        tor: Option<&Tor>,
        dump: Option<&libloc::Dump>,
    ) -> Result<Option<Built>, Failure> {
        let missing = |wanted, flag| Failure::Missing { wanted, flag };
        let from_tor = match self.country_from {
            CountrySource::Tor => Some(tor.ok_or(missing("tor", "--tor FILE"))?),
            CountrySource::Libloc => None,
            CountrySource::Newest => tor.filter(|tor| dump.is_none_or(|dump| tor.dated >= dump.dated)),
        };
        if let (Some(tor), Some(path)) = (from_tor, &self.tor) {
            steps.say(&format!("countries: from tor-geoipdb, dated {}", date(tor.dated)));
            let built =
                steps.spin("building country.mmdb", || build::country_from_tor(&tor.ranges, tor.dated));
            return built.map(Some).map_err(refused(path));
        }
        if let (Some(dump), Some(path)) = (dump, &self.libloc_dump) {
            steps.say(&format!("countries: from the libloc dump, dated {}", date(dump.dated)));
            let built = steps.spin("building country.mmdb", || build::country_from_libloc(dump));
            return built.map(Some).map_err(refused(path));
        }
        if self.country_from == CountrySource::Libloc {
            return Err(missing("libloc", "--libloc-dump FILE"));
        }
        Ok(None)
    }

    /// Writes beside the old file and renames, so that a reader never sees half a database.
    fn write(&self, steps: &Steps, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let (path, partial) = (self.out.join(name), self.out.join(format!("{name}.partial")));
        steps.spin(&format!("writing {name}"), || {
            fs::write(&partial, bytes).map_err(at("write", &partial))?;
            fs::rename(&partial, &path).map_err(at("replace", &path))
        })
    }
}

/// The ranges of both files of tor-geoipdb and the older of their dates.
struct Tor {
    ranges: Vec<tor::CountryRange>,
    dated: WallTime,
}

fn read_tor(steps: &Steps, v4: &Path, v6: Option<&Path>) -> Result<Tor, Failure> {
    let mut ranges = Vec::new();
    let mut dated = WallTime(u64::MAX);
    for path in std::iter::once(v4).chain(v6) {
        let text = read(path)?;
        let of_file = steps
            .bar(&format!("reading {}", path.display()), text.len(), |progress| {
                tor::read(&text, &mut ranges, progress)
            })
            .map_err(refused(path))?;
        dated = dated.min(of_file);
    }
    Ok(Tor { ranges, dated })
}

fn read_dump(steps: &Steps, path: &Path) -> Result<libloc::Dump, Failure> {
    let text = read(path)?;
    steps
        .bar(&format!("reading {}", path.display()), text.len(), |progress| libloc::read(&text, progress))
        .map_err(refused(path))
}

fn countries_csv(folder: &Path) -> Result<String, Failure> {
    let text =
        |name: &str| read(&folder.join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    // tzdata says its version on the first line of `tzdata.zi`, where a system has that file.
    let version = text("tzdata.zi")
        .ok()
        .and_then(|zi| zi.lines().next()?.strip_prefix("# version ").map(str::to_owned));
    let source = version.map_or_else(|| "tzdata".to_owned(), |version| format!("tzdata {version}"));
    countries::csv(&text("iso3166.tab")?, &text("zone.tab")?, &source).map_err(refused(folder))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(at("read", path))
}

fn at(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.display().to_string();
    move |source| Failure::File { verb, path, source }
}

fn refused(path: &Path) -> impl FnOnce(BuildError) -> Failure {
    let path = path.display().to_string();
    move |source| Failure::Refused { path, source }
}

fn date(at: WallTime) -> String {
    let second = i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(second).map_or_else(|_| "?".into(), |at| at.strftime("%Y-%m-%d").to_string())
}

/// Progress: a bar on a terminal, one plain line per finished step elsewhere.
struct Steps {
    is_terminal: bool,
}

impl Steps {
    fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal() }
    }

    fn bar<T>(&self, what: &str, bytes: usize, work: impl FnOnce(&mut dyn FnMut(usize)) -> T) -> T {
        if !self.is_terminal {
            self.say(what);
            return work(&mut |_| {});
        }
        let bar = ProgressBar::new(bytes as u64).with_message(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes}") {
            bar.set_style(style);
        }
        let out = work(&mut |done| bar.set_position(done as u64));
        bar.finish_and_clear();
        out
    }

    fn spin<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        if !self.is_terminal {
            return work();
        }
        let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
        spinner.tick();
        let out = work();
        spinner.finish_and_clear();
        out
    }

    fn done(&self, name: &str, built: &Built) {
        self.say(&format!(
            "{name}: {:.2} MiB, {} networks in, {} records, {} nodes, dated {}",
            built.bytes.len() as f64 / f64::from(1 << 20),
            built.networks,
            built.records,
            built.nodes,
            date(built.dated),
        ));
        if !built.left_out.is_empty() {
            let codes: Vec<_> =
                built.left_out.iter().map(|(code, count)| format!("{code} {count}")).collect();
            self.say(&format!("  left out, naming no country: {}", codes.join(", ")));
        }
    }

    /// A line that stays. A closed standard output is the reader's choice, not an error here.
    fn say(&self, line: &str) {
        let _ = writeln!(io::stdout(), "{line}");
    }
}
