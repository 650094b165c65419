//! What is on the screen: pure functions of what is known and of how it is shown.

use std::fmt::Write as _;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::cell::plain;
use super::fields::{Field, Place, aligned, places};
use super::help;
use super::keys::Shown;
use super::order::Order;
use super::rows::Measured;
use super::sample::Sample;
use super::view::Kind;

/// Lines above the rows: the summary, the command line, the headings.
pub const HEADER_LINES: usize = 3;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first line.
    Summary,
    /// What is typed, or said.
    Command,
    /// The headings.
    Title,
    /// A row.
    Row,
    /// A row that deserves attention.
    Bad,
    /// The page of keys.
    Help,
}

/// Rows that a screen of so many lines has room for.
#[must_use]
pub fn page(shown: &Shown, height: usize) -> usize {
    let room = height.saturating_sub(HEADER_LINES);
    shown.lines.map_or(room, |lines| lines.min(room))
}

/// `pfTop: Up State 1-20/123 (200), View: default, Order: bytes (rev)`.
#[must_use]
pub fn summary(shown: &Shown, sample: &Sample, page: usize) -> String {
    let mut text = String::from("pfTop: ");
    text.push_str(if sample.enabled { "Up" } else { "Down" });
    let (view, rows) = (shown.view(), sample.rows.len());
    let _ = write!(text, " {}", view.kind.name());
    if rows == 0 {
        text.push_str(" no entries");
    } else {
        let start = shown.start.min(rows - 1);
        let end = start.saturating_add(page).min(rows);
        let _ = write!(text, " {}-{end}/{rows}", start + 1);
    }
    let filtered = view.kind == Kind::States && shown.filter.is_some();
    if filtered || sample.left_out > 0 {
        let _ = write!(text, " ({})", sample.total);
    }
    if sample.left_out > 0 {
        let _ = write!(text, ", left out: {}", sample.left_out);
    }
    let _ = write!(text, ", View: {}", view.name);
    if view.kind == Kind::States {
        let _ = write!(text, ", Order: {}", shown.order.name());
        if shown.reversed && shown.order != Order::None {
            text.push_str(" (rev)");
        }
    }
    if shown.paused {
        text.push_str(" PAUSED");
    }
    text
}

/// Where the fields of the view stand on a line of `width` columns.
#[must_use]
pub fn layout(shown: &Shown, width: usize) -> Vec<Place> {
    let view = shown.view();
    let hidden = |field: &Field| field.is_speed() && !shown.cached;
    let fields = view.fields.iter().copied();
    places(fields.filter(|field| !hidden(field)), width)
}

/// The headings.
#[must_use]
pub fn title(places: &[Place]) -> String {
    line(places, |field, _| field.form().title.to_owned())
}

/// A row.
#[must_use]
pub fn row(places: &[Place], row: &Measured) -> String {
    line(places, |field, width| row.cell(field, width))
}

fn line(places: &[Place], cell: impl Fn(Field, usize) -> String) -> String {
    let mut text = String::new();
    for (at, (field, _, width)) in places.iter().enumerate() {
        if at > 0 {
            text.push(' ');
        }
        let cell = cell(*field, *width);
        text.push_str(&aligned(&cell, *width, field.form().align));
    }
    text.truncate(text.trim_end().len());
    text
}

fn command(shown: &Shown) -> String {
    match (&shown.typing, &shown.message) {
        (Some((asked, typed)), _) => format!("{}: {}", asked.prompt(), plain(typed)),
        (None, Some(message)) => format!("> {}", plain(message)),
        (None, None) => String::new(),
    }
}

/// The lines of a screen, from the top.
#[must_use]
pub fn lines(shown: &Shown, sample: &Sample, width: usize, height: usize) -> Vec<(Part, String)> {
    if shown.help {
        let page = help::PAGE.iter().take(height);
        return page.map(|line| (Part::Help, (*line).to_owned())).collect();
    }
    let (places, page) = (layout(shown, width), page(shown, height));
    let mut lines = vec![
        (Part::Summary, summary(shown, sample, page)),
        (Part::Command, command(shown)),
        (Part::Title, title(&places)),
    ];
    let start = shown.start.min(sample.rows.len().saturating_sub(1));
    lines.extend(sample.rows.iter().skip(start).take(page).map(|measured| {
        let part = if measured.is_bad() {
            Part::Bad
        } else {
            Part::Row
        };
        (part, row(&places, measured))
    }));
    lines
}

const fn style(part: Part) -> Style {
    match part {
        Part::Summary => Style::new().add_modifier(Modifier::BOLD),
        Part::Command => Style::new().fg(Color::Yellow),
        Part::Title => Style::new().add_modifier(Modifier::REVERSED),
        Part::Bad => Style::new().fg(Color::Red),
        Part::Row | Part::Help => Style::new(),
    }
}

/// Draws the screen. `colour` is for those who want it.
pub fn draw(frame: &mut Frame<'_>, shown: &Shown, sample: &Sample, colour: bool) {
    let area: Rect = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let buffer = frame.buffer_mut();
    for (y, (part, text)) in (area.top()..area.bottom()).zip(lines(shown, sample, width, height)) {
        let mut style = style(part);
        if !colour {
            style.fg = None;
        }
        if part == Part::Title {
            buffer.set_style(Rect::new(area.x, y, area.width, 1), style);
        }
        buffer.set_stringn(area.x, y, &text, width, style);
    }
    if let Some((asked, typed)) = shown.typing.as_ref().filter(|_| height > 1) {
        let column = asked.prompt().len() + 2 + plain(typed).chars().count();
        let x = u16::try_from(column).unwrap_or(u16::MAX);
        let x = x.min(area.width.saturating_sub(1));
        frame.set_cursor_position((x, area.y.saturating_add(1)));
    }
}

#[cfg(test)]
mod tests;
