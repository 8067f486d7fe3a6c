//! What the terminal view looks like: a pure function from one [`Scene`] to a frame.
//!
//! ```text
//!  rhumb lab · rhumb   generation 12, 2 s old   policy 3f2a9c0d1e5b
//!  dns 127.0.0.1:5300   198 q/s   p50 0.31 ms ...
//!  load 70 %   peak 0.86 of cap 0.90 at lon-1, never above
//!  turned away 812 newcomers, 0 who had a node   only if somebody was
//! ┌ nodes ──────────────────────────────┐   scrolls where there are more than fit
//! ├ what just moved, and why ───────────┤   newest first
//! ├ problems ───────────────────────────┤   only while there are some
//!  dig ...
//!  q quit  ...
//! ```
//! Everything a colour says a word says too: crossterm leaves colours out when NO_COLOR is set.
//! Below 100 columns the region is left out; the view is made for 80x24 and larger.

use super::clients::ClientCounts;
use super::fleet::LabStatus;
use super::peaks::Summary;
use super::plain::{dig_line, milliseconds, sentence};
use super::session::Fixed;
use crate::base::units::Ppm;
use crate::model::status::{NodeStatus, Status};
use crate::model::verdict::{NodeHealth, Verdict};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Clear, Padding, Paragraph, Row, Table, Wrap};

const WIDE: u16 = 100;
/// With this, thirteen nodes fit into 80x24.
const MOVED_ROWS: u16 = 4;
const MAX_PROBLEM_ROWS: u16 = 3;

/// What the person did to the view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// First node row shown.
    pub scroll: usize,
    pub help: bool,
}

/// Everything that is shown at one moment.
pub struct Scene<'a> {
    pub status: Option<&'a Status>,
    pub lab: &'a LabStatus,
    pub clients: &'a ClientCounts,
    /// Queries per second the daemon answered lately, from everybody.
    pub queries_per_second: f64,
    pub fixed: &'a Fixed,
}

/// Draws the whole view. Clamps `screen.scroll` to what there is.
pub fn draw(frame: &mut Frame<'_>, screen: &mut Screen, scene: &Scene<'_>) {
    let problems = scene.status.map_or(0, |status| status.problems.len());
    let problem_rows = u16::try_from(problems).unwrap_or(u16::MAX).min(MAX_PROBLEM_ROWS);
    let problems_height = if problem_rows == 0 { 0 } else { problem_rows + 1 };
    let header_lines = header_lines(scene);
    let [header, nodes, moved, problems, footer] = Layout::vertical([
        Constraint::Length(u16::try_from(header_lines.len()).unwrap_or(u16::MAX)),
        Constraint::Min(4),
        Constraint::Length(MOVED_ROWS),
        Constraint::Length(problems_height),
        Constraint::Length(2),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(header_lines), header);
    draw_nodes(frame, nodes, screen, scene);
    draw_moved(frame, moved, scene);
    draw_problems(frame, problems, scene);
    draw_footer(frame, footer, scene);
    if screen.help {
        draw_help(frame);
    }
}

fn header_lines(scene: &Scene<'_>) -> Vec<Line<'static>> {
    let first = match scene.status {
        None => Line::from(format!(" rhumb lab · {} · waiting for the first table", scene.fixed.fleet)),
        Some(status) => Line::from(vec![
            " rhumb lab ".bold().reversed(),
            Span::from(format!(
                " {}   generation {}, {} old   policy {}",
                status.instance,
                status.table.generation,
                age(status.now.0.saturating_sub(status.table.published_at.0)),
                status.table.policy
            )),
        ]),
    };
    let clients = scene.clients;
    let second = format!(
        " dns {}   {:.0} q/s   p50 {} p99 {}   failed {} stranded {}",
        scene.fixed.dns,
        scene.queries_per_second,
        milliseconds(clients.p50_us),
        milliseconds(clients.p99_us),
        clients.failed + clients.empty,
        clients.stranded,
    );
    let turned_away = clients.turned_away_phrase().map(|phrase| Line::from(format!(" {phrase}")).bold());
    [first, Line::from(second), load_line(scene.lab)].into_iter().chain(turned_away).collect()
}

/// Red while a node is above its cap: what no plan may come to.
fn load_line(lab: &LabStatus) -> Line<'static> {
    let peaks = Summary(lab);
    let line = Line::from(format!(" load {} %   {peaks}", lab.level.percent()));
    if peaks.is_above() { line.fg(Color::Red).bold() } else { line }
}

/// `2 s`, `5 min`, `3 h`: one unit is enough to tell new from stale.
fn age(millis: u64) -> String {
    match millis / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

fn draw_nodes(frame: &mut Frame<'_>, area: Rect, screen: &mut Screen, scene: &Scene<'_>) {
    let wide = area.width >= WIDE;
    let all = scene.status.map_or(&[][..], |status| &status.nodes);
    // Border above and the column heads.
    let fit = usize::from(area.height.saturating_sub(2));
    screen.scroll = screen.scroll.min(all.len().saturating_sub(fit));
    let last = all.len().min(screen.scroll + fit);
    let rows = all[screen.scroll..last].iter().map(|node| node_row(node, scene, wide));
    let title = match all.len() {
        0 => " nodes ".to_owned(),
        count if count <= fit => format!(" {count} nodes "),
        count => format!(" nodes {}-{last} of {count} ", screen.scroll + 1),
    };
    let place = if wide { ("region/site", 20) } else { ("site", 6) };
    let bar = if wide { 16 } else { 9 };
    let heads = ["node", place.0, "line", "verdict", "latency", "loss", "load", "share", "fault"];
    let node = if wide { 12 } else { 8 };
    let widths =
        [node, place.1, 7, 8, 8, 5, bar, 6].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
    let table = Table::new(rows, widths)
        .header(Row::new(heads).style(Style::new().add_modifier(Modifier::DIM)))
        .block(Block::new().borders(Borders::TOP).title(title).padding(Padding::left(1)));
    frame.render_widget(table, area);
}

fn node_row<'a>(node: &'a NodeStatus, scene: &Scene<'a>, wide: bool) -> Row<'a> {
    let place = if wide { format!("{}/{}", node.region, node.site) } else { node.site.clone() };
    let fault =
        scene.lab.nodes.iter().find(|lab| lab.name == node.name).map_or("", |lab| lab.faults.as_str());
    let told = match node.health.forced_as() {
        Some(action) => format!("{} {fault}", action.done()).trim_end().to_owned(),
        None => fault.to_owned(),
    };
    let verdict = node.health.verdict();
    let best = node.health.best();
    let latency = best.and_then(|health| health.rtt).filter(|_| verdict != Verdict::Down);
    let loss = best.map(|health| health.loss);
    Row::new(vec![
        Cell::from(node.name.as_str()).style(Style::new().add_modifier(Modifier::BOLD)),
        Cell::from(place),
        Cell::from(node.line.as_deref().unwrap_or("any")),
        Cell::from(verdict.name()).style(verdict_style(verdict)),
        Cell::from(latency.map_or("-".to_owned(), |rtt| format!("{:.1} ms", rtt.millis()))),
        Cell::from(loss.map_or("-".to_owned(), |loss| format!("{:.0} %", loss.percent()))),
        Cell::from(load_bar(&node.health, if wide { 10 } else { 3 })),
        Cell::from(format!("{:.1} %", node.share.percent())),
        Cell::from(told).style(Style::new().fg(Color::Magenta)),
    ])
}

const fn verdict_style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Up => Style::new().fg(Color::Green),
        Verdict::Degraded => Style::new().fg(Color::Yellow),
        Verdict::Unknown => Style::new().fg(Color::Gray),
        Verdict::Down => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    }
}

/// `███░  75 %`; above the cap red, above the target yellow.
fn load_bar(health: &NodeHealth, cells: u64) -> Line<'static> {
    let Some(load) = &health.load else { return Line::from("-") };
    let used = load.utilisation.min(Ppm::WHOLE);
    let full = usize::try_from(used.of(cells * 2).div_ceil(2)).unwrap_or(0);
    let empty = usize::try_from(cells).unwrap_or(0).saturating_sub(full);
    let colour = match load.utilisation {
        Ppm(900_001..) => Color::Red,
        Ppm(750_001..) => Color::Yellow,
        _ => Color::Green,
    };
    let bar = format!("{}{}", "█".repeat(full), "░".repeat(empty));
    Line::from(vec![Span::from(bar).fg(colour), Span::from(format!("{:4.0} %", load.utilisation.percent()))])
}

fn draw_moved(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let changes = scene.status.map_or(&[][..], |status| &status.recent);
    let rows = usize::from(area.height.saturating_sub(1));
    let lines: Vec<_> =
        changes.iter().rev().take(rows).map(|change| Line::from(format!(" {}", sentence(change)))).collect();
    let block = Block::new().borders(Borders::TOP).title(" what just moved, and why ");
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}

fn draw_problems(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let problems = scene.status.map_or(&[][..], |status| &status.problems);
    let lines: Vec<_> = problems
        .iter()
        .rev()
        .map(|problem| Line::from(format!(" {}: {}; {}", problem.code, problem.message, problem.help)))
        .collect();
    let title = format!(" problems ({}) ", problems.len());
    let block = Block::new().borders(Borders::TOP).title(title).fg(Color::Red);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_footer(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let keys = Line::from(vec![
        " q".bold(),
        Span::from(" quit   "),
        "↑ ↓".bold(),
        Span::from(" scroll   "),
        "?".bold(),
        Span::from(format!(" help   break: rhumb lab fault {} --down", scene.fixed.example_target)),
    ]);
    let dig = Line::from(format!(" try: {}", dig_line(scene.fixed)));
    frame.render_widget(Paragraph::new(vec![dig, keys]), area);
}

const HELP: &[&str] = &[
    "From a second terminal:",
    "  rhumb lab fault TARGET --down         sockets closed",
    "  rhumb lab fault TARGET --latency 150ms --for 60s",
    "  rhumb lab fault TARGET --loss 20%     silent requests",
    "  rhumb lab fault TARGET --load 95%     pinned load",
    "  rhumb lab heal [TARGET]",
    "  rhumb lab load 120%                   how full clients keep it",
    "TARGET is a node, site, region or line.",
    "",
    "verdict: what the daemon concludes from its probes",
    "latency, loss: as its probes see them",
    "load: as the node reports; share: of planned demand",
    "peak: the fullest any node was since the load was set",
    "stranded: clients sent to a node that is down",
    "turned away: answered that there is no room (`shed`)",
    "",
    "any key closes this",
];

fn draw_help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let (width, height) = (60.min(area.width), (HELP.len() as u16 + 2).min(area.height));
    let (x, y) = ((area.width - width) / 2, (area.height - height) / 2);
    let area = Rect { x, y, width, height };
    let lines: Vec<_> = HELP.iter().map(|line| Line::from(format!(" {line}"))).collect();
    let block = Block::bordered().title(" help ");
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::sample;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn rendered(width: u16, height: u16, screen: &mut Screen, status: Option<&Status>) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a test terminal");
        let clients = ClientCounts {
            asked: 1_200,
            failed: 2,
            empty: 1,
            stranded: 12,
            p50_us: 310,
            p99_us: 1_250,
            ..ClientCounts::default()
        };
        let (lab, fixed) = (sample::lab_status(), sample::fixed());
        let scene = Scene { status, lab: &lab, clients: &clients, queries_per_second: 198.4, fixed: &fixed };
        terminal.draw(|frame| draw(frame, screen, &scene)).expect("drawn");
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(usize::from(width));
        let line = |row: &[ratatui::buffer::Cell]| row.iter().map(|cell| cell.symbol()).collect::<String>();
        rows.map(|row| line(row).trim_end().to_owned() + "\n").collect()
    }

    /// Golden pictures; `UPDATE=1` is not read here (no environment), so edit the text on a change.
    #[test]
    fn eighty_by_twenty_four_shows_it_all() {
        let status = sample::status();
        let got = rendered(80, 24, &mut Screen::default(), Some(&status));
        assert_eq!(got, include_str!("view_80x24.txt"), "\n{got}");
        let got = rendered(120, 24, &mut Screen::default(), Some(&status));
        assert_eq!(got, include_str!("view_120x24.txt"), "\n{got}");
    }

    #[test]
    fn who_is_turned_away_is_told_once_somebody_is() {
        let (lab, fixed, status) = (sample::lab_status(), sample::fixed(), sample::status());
        let told = |turned_away| {
            let clients = ClientCounts { turned_away, ..ClientCounts::default() };
            let scene = Scene {
                status: Some(&status),
                lab: &lab,
                clients: &clients,
                queries_per_second: 1.0,
                fixed: &fixed,
            };
            header_lines(&scene).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(0).len(), 3);
        assert_eq!(told(812)[3], " turned away 812 newcomers, 0 who had a node");
    }

    #[test]
    fn the_list_scrolls_no_further_than_its_end() {
        let mut status = sample::status();
        let node = status.nodes[1].clone();
        status.nodes = (0..40).map(|n| NodeStatus { name: format!("n-{n}"), ..node.clone() }).collect();
        let mut screen = Screen { scroll: 1_000, help: false };
        let got = rendered(80, 24, &mut screen, Some(&status));
        assert!(got.contains("of 40") && got.contains("n-39") && !got.contains("n-1 "), "{got}");
        assert!(screen.scroll < 40);
    }

    #[test]
    fn before_the_first_table_and_in_small_windows_it_still_draws() {
        assert!(rendered(80, 24, &mut Screen::default(), None).contains("waiting for the first table"));
        let help = rendered(80, 24, &mut Screen { scroll: 0, help: true }, None);
        assert!(help.contains("rhumb lab heal [TARGET]"), "{help}");
        let status = sample::status();
        for (width, height) in [(1, 1), (20, 5), (40, 10), (79, 12), (300, 90)] {
            rendered(width, height, &mut Screen { scroll: 3, help: true }, Some(&status));
        }
    }
}
