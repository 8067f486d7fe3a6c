//! What `--help` of every command is held to: it fits a screen of 80 columns, and shows how the command is called.

use super::Cli;
use clap::{Command, CommandFactory};

const WIDTH: usize = 80;

/// Hands every command to `check`: how it is called, its help, and the help of it and of those above it.
fn each(command: &mut Command, above: &[String], check: &mut impl FnMut(&str, &str, &str)) {
    let help = command.clone().term_width(WIDTH).render_long_help().to_string();
    let called: Vec<String> = above.iter().cloned().chain([command.get_name().to_owned()]).collect();
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    check(&called.join(" "), &help, &after);
    for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
        each(inner, &called, check);
    }
}

#[test]
fn help_fits_a_screen_and_shows_how_each_command_is_called() {
    let (mut wrong, mut shown, mut commands) = (Vec::new(), String::new(), Vec::new());
    each(&mut Cli::command(), &[], &mut |called, help, after| {
        // All ways to call it are one line, which nothing wraps.
        let lines = help.lines().chain(after.lines()).filter(|line| !line.starts_with("Usage:"));
        let too_wide = lines.filter(|line| line.chars().count() > WIDTH);
        wrong.extend(too_wide.map(|line| format!("{called} --help is too wide: {line}")));
        shown.push_str(after);
        shown.push('\n');
        commands.push(called.to_owned());
    });
    // Whoever only holds others together is shown with them.
    for called in &commands {
        let is_shown = shown.match_indices(called.as_str()).any(|(at, _)| {
            let next = shown[at + called.len()..].chars().next();
            next.is_none_or(|next| !next.is_alphanumeric() && next != '-')
        });
        if !is_shown {
            wrong.push(format!("no --help has an example of `{called}`"));
        }
    }
    assert!(commands.len() > 50, "{commands:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_command_says_more_than_one_line_of_itself() {
    let command = Cli::command();
    for name in
        ["serve", "check", "plan", "apply", "rollback", "explain", "drill", "audit", "restore", "canary"]
    {
        let about = command.find_subcommand(name).and_then(Command::get_long_about);
        assert!(about.is_some(), "`rhumb {name} --help`: its line in the list of commands hides the rest");
    }
}
