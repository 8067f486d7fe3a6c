//! Runs the view on a real terminal, and gives the terminal back whatever happens.
//!
//! Raw mode and the alternate screen are left on quit, on cancellation (SIGTERM, ctrl-c), on an
//! error (by [`Restore`]'s drop) and on a panic (by the hook that ratatui installs). Keys are read
//! by a thread of their own, since reading a terminal blocks; if keys cannot be read the view goes
//! on without them.

use super::LabError;
use super::session::Feed;
use super::view::{self, Scene, Screen};
use crate::base::clock::WallTime;
use crate::model::status::Status;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const REDRAW_EVERY: Duration = Duration::from_millis(500);
const KEY_POLL: Duration = Duration::from_millis(100);
const PAGE: usize = 8;
/// Rates are taken over at least this long, so that they do not flicker.
const RATE_OVER_MS: u64 = 2_000;

/// Leaves the alternate screen and raw mode.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What a key asks for.
enum Wish {
    Quit,
    Redraw,
}

/// Shows the view until the person quits or `stop` is cancelled.
pub async fn run(mut feed: Feed, stop: &CancellationToken) -> Result<(), LabError> {
    let _restore = Restore;
    let mut terminal = ratatui::try_init().map_err(|source| LabError::Terminal { source })?;
    let mut keys = read_keys(stop.clone());
    let mut ticker = tokio::time::interval(REDRAW_EVERY);
    let (mut screen, mut rate) = (Screen::default(), QueryRate::default());
    loop {
        draw(&mut terminal, &mut feed, &mut screen, &mut rate)?;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = feed.status.changed() => if changed.is_err() { return Ok(()) },
            _ = ticker.tick() => {}
            Some(event) = keys.recv() => if let Wish::Quit = obey(&event, &mut screen) { return Ok(()) },
        }
    }
}

fn draw(
    terminal: &mut DefaultTerminal,
    feed: &mut Feed,
    screen: &mut Screen,
    rate: &mut QueryRate,
) -> Result<(), LabError> {
    let status = feed.status.borrow_and_update().clone();
    let (lab, clients) = (feed.lab.borrow().clone(), feed.clients.borrow().clone());
    let queries_per_second = status.as_ref().map_or(0.0, |status| rate.update(status));
    let scene = Scene {
        status: status.as_deref(),
        lab: &lab,
        clients: &clients,
        queries_per_second,
        fixed: &feed.fixed,
    };
    terminal
        .draw(|frame| view::draw(frame, screen, &scene))
        .map(|_| ())
        .map_err(|source| LabError::Terminal { source })
}

/// A thread, since `event::poll` blocks; ends with `stop` or with the first error.
fn read_keys(stop: CancellationToken) -> mpsc::Receiver<Event> {
    let (send, receive) = mpsc::channel(32);
    tokio::task::spawn_blocking(move || {
        while !stop.is_cancelled() && !send.is_closed() {
            match event::poll(KEY_POLL) {
                Ok(false) => {}
                Ok(true) => match event::read() {
                    // A full queue drops keys rather than holding the thread.
                    Ok(event) => drop(send.try_send(event)),
                    Err(_) => return,
                },
                Err(_) => return,
            }
        }
    });
    receive
}

fn obey(event: &Event, screen: &mut Screen) -> Wish {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press | KeyEventKind::Repeat, .. }) =
        event
    else {
        return Wish::Redraw;
    };
    if screen.help && !modifiers.contains(KeyModifiers::CONTROL) {
        screen.help = false;
        return Wish::Redraw;
    }
    match code {
        KeyCode::Char('q') => return Wish::Quit,
        // Raw mode turns the signal into a key.
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return Wish::Quit,
        KeyCode::Char('?' | 'h') => screen.help = true,
        KeyCode::Up | KeyCode::Char('k') => screen.scroll = screen.scroll.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => screen.scroll = screen.scroll.saturating_add(1),
        KeyCode::PageUp => screen.scroll = screen.scroll.saturating_sub(PAGE),
        KeyCode::PageDown => screen.scroll = screen.scroll.saturating_add(PAGE),
        KeyCode::Home => screen.scroll = 0,
        KeyCode::End => screen.scroll = usize::MAX,
        _ => {}
    }
    Wish::Redraw
}

/// Queries per second from two totals some time apart.
#[derive(Debug, Default)]
struct QueryRate {
    from: Option<(WallTime, u64)>,
    per_second: f64,
}

impl QueryRate {
    fn update(&mut self, status: &Status) -> f64 {
        let counts = &status.queries;
        let now = (status.now, counts.udp + counts.tcp + counts.dot);
        match self.from {
            None => self.from = Some(now),
            Some((at, total)) if status.now.0 >= at.0 + RATE_OVER_MS => {
                let seconds = (status.now.0 - at.0) as f64 / 1e3;
                self.per_second = now.1.saturating_sub(total) as f64 / seconds;
                self.from = Some(now);
            }
            // A wall clock set back would stop the rate for as long.
            Some((at, _)) if status.now < at => self.from = Some(now),
            Some(_) => {}
        }
        self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::sample;

    fn press(screen: &mut Screen, code: KeyCode, modifiers: KeyModifiers) -> bool {
        matches!(obey(&Event::Key(KeyEvent::new(code, modifiers)), screen), Wish::Quit)
    }

    #[test]
    fn keys_scroll_help_and_quit() {
        let mut screen = Screen::default();
        assert!(!press(&mut screen, KeyCode::Up, KeyModifiers::NONE));
        assert_eq!(screen.scroll, 0);
        press(&mut screen, KeyCode::PageDown, KeyModifiers::NONE);
        press(&mut screen, KeyCode::Up, KeyModifiers::NONE);
        assert_eq!(screen.scroll, PAGE - 1);
        press(&mut screen, KeyCode::Char('?'), KeyModifiers::NONE);
        assert!(screen.help);
        assert!(!press(&mut screen, KeyCode::Char('q'), KeyModifiers::NONE), "any key closes the help");
        assert!(press(&mut screen, KeyCode::Char('q'), KeyModifiers::NONE));
        screen.help = true;
        assert!(press(&mut screen, KeyCode::Char('c'), KeyModifiers::CONTROL));
    }

    #[test]
    fn the_rate_is_over_two_seconds() {
        let (mut rate, mut status) = (QueryRate::default(), sample::status());
        assert_eq!(rate.update(&status), 0.0);
        status.queries.udp = 300;
        status.now.0 += 1_000;
        assert_eq!(rate.update(&status), 0.0);
        status.queries.tcp = 100;
        status.now.0 += 1_000;
        assert_eq!(rate.update(&status), 200.0);
        status.now.0 -= 60_000;
        assert_eq!(rate.update(&status), 200.0);
        status.now.0 += 2_000;
        assert_eq!(rate.update(&status), 0.0);
    }
}
