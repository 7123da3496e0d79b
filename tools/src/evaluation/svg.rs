//! The report's drawings as inline SVG; colours are the page's, so they follow light and dark.

use super::html::escape;
use crate::metrics::ClassScore;
use crate::metrics::calibration::Bin;
use std::fmt::Write;

pub(crate) fn frame(title: &str, width: f64, height: f64, body: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" role=\"img\"><title>{}</title>{body}</svg>\n",
        escape(title)
    )
}

pub(crate) fn text(at: (f64, f64), anchor: &str, content: &str) -> String {
    let (x, y) = at;
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        escape(content)
    )
}

pub(crate) fn rect([x, y, w, h]: [f64; 4], class: &str, opacity: f64, tip: &str) -> String {
    format!(
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" class=\"{class}\" opacity=\"{opacity:.3}\"><title>{}</title></rect>",
        escape(tip)
    )
}

/// Room for the longest label, in pixels.
pub(crate) fn label_width<'a>(labels: impl Iterator<Item = &'a String>) -> f64 {
    let longest = labels.map(|l| l.chars().count()).max().unwrap_or(0);
    20.0 + 7.5 * longest as f64
}

/// A heat map: each row's counts relative to the row's sum.
pub(super) fn confusion(labels: &[String], counts: &[Vec<usize>]) -> String {
    const CELL: f64 = 34.0;
    let side = label_width(labels.iter());
    let mut body = String::new();
    for (t, (truth, row)) in labels.iter().zip(counts).enumerate() {
        let y = side + t as f64 * CELL;
        body += &text((side - 6.0, y + 21.0), "end", truth);
        let x = side + t as f64 * CELL + 21.0;
        let turned = format!(
            "<g transform=\"translate({x:.1} {:.1}) rotate(-90)\">",
            side - 6.0
        );
        let _ = write!(body, "{turned}{}</g>", text((0.0, 0.0), "start", truth));
        let sum = row.iter().sum::<usize>().max(1) as f64;
        for (p, (&count, predicted)) in row.iter().zip(labels).enumerate() {
            let place = [side + p as f64 * CELL, y, CELL - 1.0, CELL - 1.0];
            let tip = format!("{truth} taken for {predicted}: {count}");
            body += &rect(place, "cell", 0.04 + 0.66 * count as f64 / sum, &tip);
            if count > 0 {
                let middle = (place[0] + CELL / 2.0, y + 21.0);
                body += &text(middle, "middle", &count.to_string());
            }
        }
    }
    let size = side + labels.len() as f64 * CELL + 4.0;
    frame(
        "Confusion matrix: truth by row, prediction by column",
        size,
        size,
        &body,
    )
}

/// Accuracy over confidence, beside the diagonal of a perfectly calibrated model.
pub(super) fn reliability(bins: &[Bin]) -> String {
    const SIZE: f64 = 240.0;
    let (left, top) = (40.0, 10.0);
    let width = SIZE / bins.len().max(1) as f64;
    let mut body = rect([left, top, SIZE, SIZE], "plot", 1.0, "");
    for (i, bin) in bins.iter().enumerate().filter(|(_, b)| b.n > 0) {
        let (x, h) = (left + i as f64 * width, bin.accuracy * SIZE);
        let tip = format!(
            "{} samples: confidence {:.3}, accuracy {:.3}",
            bin.n, bin.confidence, bin.accuracy
        );
        body += &rect(
            [x, top + SIZE - h, width - 1.0, h.max(1.0)],
            "bar",
            0.8,
            &tip,
        );
    }
    let _ = write!(
        body,
        "<line x1=\"{left}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{top}\" class=\"line\"/>",
        top + SIZE,
        left + SIZE
    );
    for tick in 0..=4 {
        let share = f64::from(tick) / 4.0;
        let label = format!("{share:.2}");
        body += &text(
            (left - 5.0, top + SIZE * (1.0 - share) + 4.0),
            "end",
            &label,
        );
        body += &text((left + SIZE * share, top + SIZE + 16.0), "middle", &label);
    }
    body += &text(
        (left + SIZE / 2.0, top + SIZE + 34.0),
        "middle",
        "confidence",
    );
    frame(
        "Reliability: accuracy over confidence",
        left + SIZE + 20.0,
        SIZE + 54.0,
        &body,
    )
}

/// Recall, precision and F1 of each class.
pub(super) fn classes(scores: &[ClassScore]) -> String {
    const WIDTH: f64 = 300.0;
    const ROW: f64 = 40.0;
    let left = label_width(scores.iter().map(|s| &s.label));
    let mut body = String::new();
    for (i, score) in scores.iter().enumerate() {
        let y = i as f64 * ROW + 4.0;
        body += &text((left - 6.0, y + 21.0), "end", &score.label);
        let values = [
            ("recall", score.recall, 0.9),
            ("precision", score.precision, 0.6),
            ("F1", score.f1, 0.35),
        ];
        for (k, (name, value, opacity)) in values.into_iter().enumerate() {
            let Some(value) = value else { continue };
            let place = [left, y + 10.0 * k as f64, (value * WIDTH).max(1.0), 9.0];
            let tip = format!("{}: {name} {value:.3}", score.label);
            body += &rect(place, "bar", opacity, &tip);
        }
    }
    let height = scores.len() as f64 * ROW + 8.0;
    frame(
        "Recall, precision and F1 of each class",
        left + WIDTH + 10.0,
        height,
        &body,
    )
}
