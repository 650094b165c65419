//! Fields: what they are called, how wide they are, and where they stand on a line.

/// A field of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "each is the heading of its column: see `Field::form`"
)]
pub enum Field {
    Src,
    Dest,
    Gw,
    State,
    Age,
    Expires,
    Proto,
    Dir,
    Packets,
    Bytes,
    Rule,
    Label,
    States,
    Evaluations,
    Action,
    Log,
    Quick,
    KeepState,
    If,
    Info,
    Max,
    Rate,
    Average,
    Peak,
    Anchor,
    Queue,
    Bandwidth,
    Scheduler,
    Prio,
    DropPackets,
    DropBytes,
    QueueLength,
    Borrow,
    Suspends,
    PacketRate,
    BytesRate,
    PassIn,
    BytesIn,
    BlockIn,
    PassOut,
    BytesOut,
    BlockOut,
    Skip,
    Table,
    Addresses,
    Rules,
    Match,
    NoMatch,
    Blocked,
    Gateway,
    Up,
    Since,
    Failures,
    Rtt,
    Loss,
}

/// Where a text stands in its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// At the left.
    Left,
    /// At the right.
    Right,
    /// In the middle.
    Center,
    /// With its colon in the middle.
    Colon,
}

/// How a field looks.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Its heading.
    pub title: &'static str,
    /// Its width on a narrow screen.
    pub min: usize,
    /// Its width on a wide one.
    pub max: usize,
    /// By how much it grows at a time.
    pub step: usize,
    /// Where its text stands.
    pub align: Align,
}

const fn form(title: &'static str, sizes: [usize; 3], align: Align) -> Form {
    let [min, max, step] = sizes;
    Form {
        title,
        min,
        max,
        step,
        align,
    }
}

impl Field {
    /// How it looks. Sizes are pftop's where it has the field.
    #[must_use]
    pub const fn form(self) -> Form {
        use Align::{Center, Colon, Left, Right};
        match self {
            Self::Src => form("SRC", [20, 45, 1], Left),
            Self::Dest => form("DEST", [20, 45, 1], Left),
            Self::Gw => form("GW", [20, 45, 1], Left),
            Self::State => form("STATE", [5, 23, 18], Colon),
            Self::Age => form("AGE", [5, 9, 4], Right),
            Self::Expires => form("EXP", [5, 9, 4], Right),
            Self::Proto => form("PR", [4, 9, 1], Left),
            Self::Dir => form("DIR", [1, 3, 2], Center),
            Self::Packets => form("PKTS", [5, 8, 1], Right),
            Self::Bytes => form("BYTES", [5, 8, 1], Right),
            Self::Rule => form("RULE", [2, 4, 1], Right),
            Self::Label => form("LABEL", [16, 32, 1], Left),
            Self::States => form("STATES", [5, 8, 1], Right),
            Self::Evaluations => form("EVAL", [5, 8, 1], Right),
            Self::Action => form("ACTION", [1, 8, 4], Left),
            Self::Log => form("LOG", [1, 3, 2], Left),
            Self::Quick => form("QUICK", [1, 1, 1], Left),
            Self::KeepState => form("KS", [1, 1, 1], Left),
            Self::If => form("IF", [6, 15, 1], Left),
            Self::Info => form("INFO", [40, 200, 1], Left),
            Self::Max => form("MAX", [3, 5, 2], Right),
            Self::Rate => form("RATE", [5, 8, 1], Right),
            Self::Average => form("AVG", [5, 8, 1], Right),
            Self::Peak => form("PEAK", [5, 8, 1], Right),
            Self::Anchor => form("ANCHOR", [6, 16, 1], Left),
            Self::Queue => form("QUEUE", [15, 30, 1], Left),
            Self::Bandwidth => form("BW", [4, 5, 1], Right),
            Self::Scheduler => form("SCH", [3, 5, 1], Left),
            Self::Prio => form("PRIO", [1, 4, 1], Right),
            Self::DropPackets => form("DROP_P", [6, 8, 1], Right),
            Self::DropBytes => form("DROP_B", [6, 8, 1], Right),
            Self::QueueLength => form("QLEN", [4, 4, 1], Right),
            Self::Borrow => form("BORROW", [4, 6, 1], Right),
            Self::Suspends => form("SUSPENDS", [4, 8, 1], Right),
            Self::PacketRate => form("P/S", [3, 7, 1], Right),
            Self::BytesRate => form("B/S", [4, 7, 1], Right),
            Self::PassIn => form("PASS_IN", [7, 9, 1], Right),
            Self::BytesIn => form("BYTES_IN", [8, 9, 1], Right),
            Self::BlockIn => form("BLOCK_IN", [8, 9, 1], Right),
            Self::PassOut => form("PASS_OUT", [8, 9, 1], Right),
            Self::BytesOut => form("BYTES_OUT", [9, 9, 1], Right),
            Self::BlockOut => form("BLOCK_OUT", [9, 9, 1], Right),
            Self::Skip => form("SKIP", [4, 4, 1], Left),
            Self::Table => form("TABLE", [16, 31, 1], Left),
            Self::Addresses => form("ADDRS", [6, 8, 1], Right),
            Self::Rules => form("RULES", [5, 6, 1], Right),
            Self::Match => form("MATCH", [6, 9, 1], Right),
            Self::NoMatch => form("NOMATCH", [7, 9, 1], Right),
            Self::Blocked => form("BLOCKED", [7, 9, 1], Right),
            Self::Gateway => form("GATEWAY", [15, 39, 1], Left),
            Self::Up => form("STATE", [5, 5, 1], Left),
            Self::Since => form("SINCE", [8, 9, 1], Right),
            Self::Failures => form("FAILED", [6, 6, 1], Right),
            Self::Rtt => form("RTT", [9, 9, 1], Right),
            Self::Loss => form("LOSS", [5, 5, 1], Right),
        }
    }

    /// Whether it is known only from the second sample on.
    #[must_use]
    pub const fn is_speed(self) -> bool {
        matches!(self, Self::Rate | Self::Peak)
    }
}

/// A field, the column where it begins, and its width.
pub type Place = (Field, usize, usize);

/// Puts `fields` on a line of `width` columns, one blank between two of them: as many as it has
/// room for, the last as wide as what is left; then all grow in turns while there is room.
#[must_use]
pub fn places(fields: impl IntoIterator<Item = Field>, width: usize) -> Vec<Place> {
    let mut left = width;
    let mut chosen: Vec<(Field, usize)> = Vec::new();
    for field in fields {
        let gap = usize::from(!chosen.is_empty());
        if left <= gap {
            break;
        }
        let own = field.form().min.min(left - gap);
        left -= own + gap;
        chosen.push((field, own));
    }
    grow(&mut chosen, left);
    let mut at = 0;
    let place = |(field, width)| {
        let start = at;
        at += width + 1;
        (field, start, width)
    };
    chosen.into_iter().map(place).collect()
}

fn grow(chosen: &mut [(Field, usize)], mut left: usize) {
    let mut grown = true;
    while left > 0 && grown {
        grown = false;
        for (field, width) in &mut *chosen {
            let form = field.form();
            let wider = (*width + form.step).min(form.max);
            if *width < form.max && form.step <= left {
                left -= wider - *width;
                *width = wider;
                grown = true;
            }
        }
    }
}

/// `text` in a field of `width` columns.
#[must_use]
pub fn aligned(text: &str, width: usize, align: Align) -> String {
    let len = text.chars().count();
    if len >= width {
        return text.chars().take(width).collect();
    }
    let free = width - len;
    let before = match align {
        Align::Left => 0,
        Align::Right => free,
        Align::Center => free / 2,
        Align::Colon => {
            let colon = text.chars().position(|c| c == ':');
            colon.map_or(free / 2, |at| (width / 2).saturating_sub(at).min(free))
        }
    };
    format!("{:before$}{text}{:after$}", "", "", after = free - before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::view::VIEWS;

    #[test]
    fn fields_never_leave_the_line_nor_touch_each_other() {
        for view in &VIEWS {
            for width in [0, 1, 2, 10, 40, 79, 80, 81, 132, 300] {
                let placed = places(view.fields.iter().copied(), width);
                let mut free = 0;
                for (field, start, own) in placed {
                    assert!(start >= free && own > 0, "{} {field:?} {width}", view.name);
                    assert!(start + own <= width, "{} {field:?} {width}", view.name);
                    assert!(own <= field.form().max);
                    free = start + own + 1;
                }
            }
        }
    }

    #[test]
    fn all_of_the_default_view_fits_on_80_columns() {
        let placed = places(VIEWS[0].fields.iter().copied(), 80);
        assert_eq!(placed.len(), VIEWS[0].fields.len());
        // 80 columns less 8 gaps, and what is left over goes round in pftop's steps.
        let widths: Vec<_> = placed.iter().map(|(_, _, width)| *width).collect();
        assert_eq!(widths.iter().sum::<usize>(), 72);
    }

    #[test]
    fn texts_stand_where_their_field_says() {
        assert_eq!(aligned("ab", 5, Align::Left), "ab   ");
        assert_eq!(aligned("ab", 5, Align::Right), "   ab");
        assert_eq!(aligned("ab", 5, Align::Center), " ab  ");
        assert_eq!(aligned("1:22", 9, Align::Colon), "   1:22  ");
        assert_eq!(aligned("123456:7", 9, Align::Colon), "123456:7 ");
        assert_eq!(aligned("abcdef", 3, Align::Right), "abc");
        assert_eq!(aligned("", 0, Align::Left), "");
    }
}
