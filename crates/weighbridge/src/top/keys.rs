//! What keys do: a state machine of what is shown.

use std::time::Duration;

use pf_engine::addr::Prefix;

use super::filter::{self, FILTER_BYTES_MAX, Filter};
use super::order::Order;
use super::view::{Kind, VIEWS, View};

/// Seconds between updates until another number is given.
pub const DELAY: Duration = Duration::from_secs(5);
/// Seconds between updates at most: a day.
pub const DELAY_MAX: u64 = 86_400;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// A character with Control.
    Control(char),
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Backspace.
    Backspace,
    /// An arrow.
    Up,
    /// An arrow.
    Down,
    /// An arrow.
    Left,
    /// An arrow.
    Right,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first row.
    Home,
    /// To the last row.
    End,
}

/// What is to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Draw what is known.
    Draw,
    /// Draw all of it, over whatever is on the screen.
    Redraw,
    /// Ask the daemon, then draw.
    Update,
    /// End.
    Quit,
}

/// What the command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A filter.
    Filter,
    /// Seconds between updates.
    Delay,
    /// Rows to show.
    Lines,
}

impl Asked {
    /// What stands before what is typed.
    #[must_use]
    pub const fn prompt(self) -> &'static str {
        match self {
            Self::Filter => "Filter",
            Self::Delay => "Seconds to delay",
            Self::Lines => "Number of lines to display",
        }
    }
}

/// What is shown, and how.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each has a key of its own")]
pub struct Shown {
    pub(super) view: usize,
    /// What states are sorted by.
    pub order: Order,
    /// The other way round.
    pub reversed: bool,
    /// Whether nothing is asked of the daemon.
    pub paused: bool,
    /// Whether rates are known.
    pub cached: bool,
    /// Which states are shown: all without one.
    pub filter: Option<(String, Filter)>,
    /// The time between updates.
    pub delay: Duration,
    /// Rows to show at most; as many as fit without it.
    pub lines: Option<usize>,
    /// The first row that is shown.
    pub start: usize,
    /// What is being typed.
    pub typing: Option<(Asked, String)>,
    /// What there is to say.
    pub message: Option<String>,
    /// Whether the page of keys is shown.
    pub help: bool,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            view: 0,
            order: Order::None,
            reversed: false,
            paused: false,
            cached: true,
            filter: None,
            delay: DELAY,
            lines: None,
            start: 0,
            typing: None,
            message: None,
            help: false,
        }
    }
}

/// What names in filters stand for.
pub type Resolve<'a> = &'a dyn Fn(&str) -> Vec<Prefix>;

impl Shown {
    /// The view.
    #[must_use]
    pub fn view(&self) -> &'static View {
        VIEWS.get(self.view).unwrap_or(&VIEWS[0])
    }

    /// Goes to the view of that place.
    pub fn select(&mut self, view: usize) -> Action {
        if view >= VIEWS.len() {
            return Action::Nothing;
        }
        let before = self.view().kind;
        self.view = view;
        if self.view().kind == before {
            return Action::Draw;
        }
        self.start = 0;
        Action::Update
    }

    /// A key was pressed. `rows` there are, `page` of them are on the screen.
    pub fn press(&mut self, key: Key, rows: usize, page: usize, resolve: Resolve<'_>) -> Action {
        if key == Key::Control('c') {
            return Action::Quit;
        }
        if std::mem::take(&mut self.help) {
            return Action::Draw;
        }
        if let Some((asked, typed)) = self.typing.take() {
            return self.edit(key, asked, typed, resolve);
        }
        match key {
            Key::Char(letter) => self.letter(letter),
            Key::Control('l') => Action::Redraw,
            Key::Control('g') | Key::Escape => {
                self.message = None;
                Action::Draw
            }
            Key::Left | Key::Control('b') => {
                self.select(self.view.checked_sub(1).unwrap_or(VIEWS.len() - 1))
            }
            Key::Right | Key::Control('f') => self.select((self.view + 1) % VIEWS.len()),
            Key::Control(_)
            | Key::Enter
            | Key::Backspace
            | Key::Up
            | Key::Down
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End => self.scroll(key, rows, page),
        }
    }

    fn scroll(&mut self, key: Key, rows: usize, page: usize) -> Action {
        let last = rows.saturating_sub(page);
        self.start = match key {
            Key::Up | Key::Control('p') => self.start.saturating_sub(1),
            Key::Down | Key::Control('n') => self.start.saturating_add(1),
            Key::PageUp => self.start.saturating_sub(page),
            Key::PageDown | Key::Control('v') => self.start.saturating_add(page),
            Key::Home | Key::Control('a') => 0,
            Key::End | Key::Control('e') => last,
            Key::Char(_)
            | Key::Control(_)
            | Key::Enter
            | Key::Escape
            | Key::Backspace
            | Key::Left
            | Key::Right => return Action::Nothing,
        }
        .min(last);
        Action::Draw
    }

    fn letter(&mut self, letter: char) -> Action {
        if let Some(order) = Order::of_key(letter) {
            return self.sort_by(order);
        }
        if let Some(view) = letter.to_digit(10) {
            return self.select(view as usize);
        }
        match letter {
            'c' => {
                self.cached = !self.cached;
                return Action::Update;
            }
            'f' => {
                let now = self.filter.as_ref().map(|(text, _)| text.clone());
                self.ask(Asked::Filter, now.unwrap_or_default());
            }
            'h' | '?' => self.help = true,
            'n' => self.ask(Asked::Lines, String::new()),
            's' => self.ask(Asked::Delay, String::new()),
            'o' if self.view().kind == Kind::States => self.order = self.order.next(),
            'p' => self.paused = !self.paused,
            'q' => return Action::Quit,
            'r' => self.reversed = !self.reversed,
            'v' => return self.select((self.view + 1) % VIEWS.len()),
            ' ' => return Action::Update,
            _ => return Action::Nothing,
        }
        Action::Draw
    }

    /// The same order again turns it round.
    fn sort_by(&mut self, order: Order) -> Action {
        if self.view().kind != Kind::States {
            return Action::Nothing;
        }
        if self.order == order {
            self.reversed = !self.reversed;
        }
        self.order = order;
        Action::Draw
    }

    fn ask(&mut self, asked: Asked, typed: String) {
        self.message = None;
        self.typing = Some((asked, typed));
    }

    fn edit(&mut self, key: Key, asked: Asked, mut typed: String, resolve: Resolve<'_>) -> Action {
        match key {
            Key::Enter => return self.enter(asked, &typed, resolve),
            Key::Escape | Key::Control('g') => return Action::Draw,
            Key::Backspace | Key::Control('h') => {
                typed.pop();
            }
            Key::Control('u') => typed.clear(),
            Key::Char(letter)
                if !letter.is_control() && typed.len() + letter.len_utf8() <= FILTER_BYTES_MAX =>
            {
                typed.push(letter);
            }
            Key::Char(_)
            | Key::Control(_)
            | Key::Up
            | Key::Down
            | Key::Left
            | Key::Right
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End => {}
        }
        self.typing = Some((asked, typed));
        Action::Draw
    }

    fn enter(&mut self, asked: Asked, typed: &str, resolve: Resolve<'_>) -> Action {
        let typed = typed.trim();
        match asked {
            Asked::Filter if typed.is_empty() => self.filter = None,
            Asked::Filter => match filter::parse(typed, resolve) {
                Ok(filter) => self.filter = Some((typed.to_owned(), filter)),
                Err(error) => {
                    self.message = Some(format!("Error: {error}"));
                    return Action::Draw;
                }
            },
            Asked::Delay => {
                if let Ok(seconds @ 1..=DELAY_MAX) = typed.parse() {
                    self.delay = Duration::from_secs(seconds);
                } else {
                    self.message = Some(format!("Error: a number from 1 to {DELAY_MAX}"));
                    return Action::Draw;
                }
            }
            Asked::Lines => {
                self.lines = typed.parse().ok().filter(|lines| *lines > 0);
                return Action::Draw;
            }
        }
        self.start = 0;
        Action::Update
    }
}

#[cfg(test)]
mod tests;
