//! `rhumb token`: who may use the admin address from elsewhere.

use crate::base::clock::{Clock, SystemClock};
use crate::cli::admin_client::Admin;
use crate::cli::render::moment;
use crate::cli::{Format, chain, duration, random};
use crate::control::operators::NewToken;
use crate::model::actor::Role;
use crate::model::token::TokenHash;
use crate::store::tokens::TokenShown;
use comfy_table::{Table, presets};
use std::process::ExitCode;
use std::time::Duration;

/// Random octets of a token.
const TOKEN_BYTES: usize = 32;

/// Give and take tokens for the admin address
///
/// Root and the user that rhumb runs as may do everything on its own machine. Everybody else shows a token:
/// viewers look, operators act (overrides, drills, policies), admins give and take tokens too. Of a token only
/// its hash is kept.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  rhumb token create alice --role operator --for 2160h > alice.token
  rhumb status --admin https://dns.example.net:8053 --token-file alice.token
  RHUMB_TOKEN=$(cat alice.token) rhumb node tyo-1
  curl -H \"Authorization: Bearer $(cat alice.token)\" \\
      http://127.0.0.1:8053/metrics
  rhumb token list
  rhumb token revoke alice         # at once, also for connections that are open")]
pub struct TokenArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Make a token: itself to standard output, what may be known of it to standard error
    Create {
        /// Whose it is: audit log and `list` show it
        name: String,
        /// What it may do
        #[arg(long, value_parser = role, value_name = "viewer|operator|admin")]
        role: Role,
        /// Until it expires [default: until it is revoked]
        #[arg(long = "for", value_name = "TIME", value_parser = duration)]
        lasting: Option<Duration>,
        #[command(flatten)]
        admin: Admin,
    },
    /// Show whose tokens are let in
    List {
        #[command(flatten)]
        admin: Admin,
        /// `json` is for scripts
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Let a token in no more
    Revoke {
        /// As `list` shows it
        name: String,
        #[command(flatten)]
        admin: Admin,
    },
}

fn role(text: &str) -> Result<Role, String> {
    let found = Role::ALL.into_iter().find(|role| role.word() == text);
    found.ok_or_else(|| format!("`{text}` is no role; there are viewer, operator and admin"))
}

impl TokenArgs {
    pub fn run(&self) -> ExitCode {
        let done = match &self.what {
            What::Create { name, role, lasting, admin } => create(name, *role, *lasting, admin),
            What::List { admin, format } => list(admin, *format),
            What::Revoke { name, admin } => revoke(name, admin),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                eprintln!("rhumb: {message}");
                ExitCode::from(2)
            }
        }
    }
}

fn create(name: &str, role: Role, lasting: Option<Duration>, admin: &Admin) -> Result<(), String> {
    let token = data_encoding::HEXLOWER.encode(&random::<TOKEN_BYTES>()?);
    let new = NewToken {
        name: name.to_owned(),
        role,
        hash: TokenHash::of(&token).to_string(),
        for_s: lasting.map(|lasting| lasting.as_secs()),
    };
    let made: TokenShown = admin.post("/tokens", &new).map_err(|error| chain(&error))?;
    println!("{token}");
    eprintln!("{name} is let in as {role}{};\nthe token is shown only now", until(&made));
    Ok(())
}

fn until(token: &TokenShown) -> String {
    token.expires_at.map_or_else(String::new, |at| format!(" until {} UTC", moment(at)))
}

fn list(admin: &Admin, format: Format) -> Result<(), String> {
    let tokens: Vec<TokenShown> = admin.ask("/tokens", &[]).map_err(|error| chain(&error))?;
    if format == Format::Json {
        let told = serde_json::to_string_pretty(&tokens).map_err(|error| error.to_string())?;
        println!("{told}");
        return Ok(());
    }
    if tokens.is_empty() {
        println!("no tokens; `rhumb token create NAME --role viewer` makes one");
        return Ok(());
    }
    let now = SystemClock::new().wall();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["NAME", "ROLE", "MADE (UTC)", "BY", "UNTIL (UTC)"]);
    for token in &tokens {
        let until = match token.expires_at {
            Some(at) if at <= now => format!("expired {}", moment(at)),
            Some(at) => moment(at),
            None => "it is revoked".to_owned(),
        };
        let TokenShown { name, role, made_at, made_by, .. } = token;
        table.add_row([name.clone(), role.to_string(), moment(*made_at), made_by.clone(), until]);
    }
    println!("{}", table.trim_fmt());
    Ok(())
}

fn revoke(name: &str, admin: &Admin) -> Result<(), String> {
    let path = format!("/tokens/{}", form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>());
    let revoked: TokenShown = admin.delete(&path).map_err(|error| chain(&error))?;
    println!("{} ({}) is let in no more", revoked.name, revoked.role);
    Ok(())
}
