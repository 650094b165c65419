//! The figures as a chart: a bar for each median, a whisker from the least to the greatest.

use std::fmt::Write as _;

use super::contestants::Contestant;
use super::figures::{Figures, present};
use super::samples::{Better, Row};

const WIDTH: f64 = 900.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 190.0;
const LENGTH: f64 = 560.0;
const BAR: f64 = 14.0;
const STEP: f64 = 20.0;
const TITLE: f64 = 34.0;

/// An SVG document.
pub(crate) fn svg(figures: &Figures, subtitle: &str) -> String {
    let mut body = String::new();
    let mut y = 20.0;
    put(&mut body, 10.0, y, "title", "Weighbridge beside the kernel");
    y += 18.0;
    put(&mut body, 10.0, y, "note", subtitle);
    for (scene, rows) in figures.scenes() {
        y += TITLE;
        put(&mut body, 10.0, y, "scene", scene.title());
        for row in rows {
            y = bars(&mut body, y, row);
        }
    }
    let height = y + STEP;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<style>\n\
         .title {{ font-size: 18px; font-weight: bold }}\n.scene {{ font-size: 15px; font-weight: bold }}\n\
         .row {{ font-weight: bold }}\n.note {{ fill: #555 }}\n.name {{ text-anchor: end }}\n\
         .ours {{ fill: #2a6f97 }}\n.other {{ fill: #b8b8b8 }}\n.whisker {{ stroke: #222 }}\n</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

/// Draws a line of the table below `y`; where it ends.
fn bars(body: &mut String, mut y: f64, row: &Row<Contestant>) -> f64 {
    let sides: Vec<_> = present(std::slice::from_ref(row))
        .filter_map(|who| Some((who, row.summary(who)?)))
        .collect();
    let greatest = sides.iter().map(|(_, figures)| figures.2);
    let scale = LENGTH / greatest.fold(f64::MIN_POSITIVE, f64::max);
    let better = match row.better {
        Better::More => "more is better",
        Better::Less => "less is better",
    };
    y += TITLE - 8.0;
    let what = format!("{}, {} ({better})", row.what, row.unit);
    put(body, LEFT, y, "row", &what);
    for (who, (low, middle, high)) in sides {
        y += STEP;
        put(body, LEFT - 8.0, y, "name", who.name());
        let class = if who.fast_path().is_some() {
            "ours"
        } else {
            "other"
        };
        let at = |value: f64| value.max(0.0) * scale;
        let (top, length) = (y - BAR + 3.0, at(middle));
        let _ = writeln!(
            body,
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{length:.1}\" height=\"{BAR}\"/>"
        );
        let (from, to, level) = (LEFT + at(low), LEFT + at(high), y - BAR / 2.0 + 3.0);
        let _ = writeln!(
            body,
            "<path class=\"whisker\" d=\"M{from:.1} {level:.1}H{to:.1}\"/>"
        );
        let digits = usize::from(middle.abs() < 100.0);
        put(body, to + 8.0, y, "value", &format!("{middle:.digits$}"));
    }
    y
}

/// Writes a text; none of ours has a character that XML would mind.
fn put(body: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let _ = writeln!(
        body,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
    );
}
