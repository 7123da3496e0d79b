//! Where the instructions of a KWT-1 layer go, drawn.

use super::measure::Measured;
use crate::evaluation::svg::{frame, label_width, rect, text};

/// A part of a layer: its name, the cases that it is made of and how often, and its colour.
type Part = (&'static str, &'static [(&'static str, i64)], &'static str);

const PARTS: [Part; 6] = [
    (
        "query, key, value, output",
        &[("linear-98x64x64", 3), ("linear-out", 1)],
        "#4e79a7",
    ),
    (
        "feed-forward 1, GELU",
        &[("linear-gelu-98x64x256", 1)],
        "#f28e2b",
    ),
    (
        "feed-forward 2, residual",
        &[("linear-add-98x256x64", 1)],
        "#e15759",
    ),
    (
        "attention without softmax",
        &[("attention-98x98x64", 1), ("softmax-98x98", -1)],
        "#76b7b2",
    ),
    ("softmax", &[("softmax-98x98", 1)], "#59a14f"),
    ("LayerNorm", &[("layer-norm-98x64", 2)], "#edc948"),
];

/// One bar a core; what the operators do not explain is the rest.
pub fn svg(measured: &[Measured]) -> String {
    const WIDTH: f64 = 640.0;
    const BAR: f64 = 26.0;
    let cores: Vec<String> = measured.iter().map(|m| m.board.core.clone()).collect();
    let left = label_width(cores.iter());
    let mut body = "<style>text { font: 13px sans-serif }</style>".to_owned();
    for (i, (m, core)) in measured.iter().zip(&cores).enumerate() {
        let y = 10.0 + i as f64 * (BAR + 10.0);
        body += &text((left - 8.0, y + 18.0), "end", core);
        let of = |case: &str| {
            // The output projection is a linear layer of the same shape.
            let case = if case == "linear-out" {
                "linear-98x64x64"
            } else {
                case
            };
            let count = m.counts.iter().find(|c| c.case == case);
            count.map_or(0, |c| c.instructions as i64)
        };
        let whole = of("kwt1-layer").max(1);
        let mut x = left;
        let mut rest = whole;
        for (name, cases, colour) in PARTS {
            let n: i64 = cases.iter().map(|(case, times)| of(case) * times).sum();
            rest -= n;
            x += bar(&mut body, [x, y], WIDTH, name, n, whole, colour);
        }
        bar(
            &mut body,
            [x, y],
            WIDTH,
            "all else",
            rest.max(0),
            whole,
            "#bab0ac",
        );
    }
    let names = PARTS.iter().map(|(name, _, colour)| (*name, *colour));
    let mut y = 20.0 + cores.len() as f64 * (BAR + 10.0);
    for (name, colour) in names.chain([("all else", "#bab0ac")]) {
        body += &format!(
            "<g fill=\"{colour}\">{}</g>",
            rect([left, y, 14.0, 14.0], "", 1.0, name)
        );
        body += &text((left + 22.0, y + 12.0), "start", name);
        y += 20.0;
    }
    let title = "Instructions of one KWT-1 encoder layer, by operator";
    frame(title, left + WIDTH + 10.0, y + 10.0, &body)
}

/// Draws a part; returns its width.
fn bar(
    body: &mut String,
    [x, y]: [f64; 2],
    width: f64,
    name: &str,
    n: i64,
    whole: i64,
    colour: &str,
) -> f64 {
    let share = n as f64 / whole as f64;
    let tip = format!("{name}: {n} instructions, {:.1} %", 100.0 * share);
    let place = [x, y, share * width, 26.0];
    *body += &format!("<g fill=\"{colour}\">{}</g>", rect(place, "", 1.0, &tip));
    if share > 0.05 {
        *body += &text(
            (x + share * width / 2.0, y + 18.0),
            "middle",
            &format!("{:.0} %", 100.0 * share),
        );
    }
    share * width
}
