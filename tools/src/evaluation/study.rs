//! What tuning is worth, drawn: a bar a method, a group a protocol.

use super::svg::{frame, rect, text};
use crate::adapt::study::Row;

/// Returns an SVG of the rows: accuracy after, and a tick at the accuracy before.
pub fn study_plot(rows: &[Row]) -> String {
    const WIDTH: f64 = 420.0;
    const ROW: f64 = 16.0;
    let left = 150.0;
    let mut body = String::new();
    let mut y = 10.0;
    let mut group = None;
    for row in rows {
        let this = (row.study.clone(), row.what.clone());
        if group.as_ref() != Some(&this) {
            y += 10.0;
            body += &text(
                (left, y + 10.0),
                "start",
                &format!("{}, {}", row.study, row.what),
            );
            y += ROW;
            group = Some(this);
        }
        body += &text((left - 6.0, y + 11.0), "end", row.method);
        let tip = format!(
            "{}: {:.2} %, worst {:.2} %",
            row.method,
            100.0 * row.after,
            100.0 * row.worst
        );
        body += &rect(
            [left, y, (row.after * WIDTH).max(1.0), ROW - 3.0],
            "bar",
            0.7,
            &tip,
        );
        if let Some(before) = row.before {
            let tip = format!("before: {:.2} %", 100.0 * before);
            body += &rect(
                [left + before * WIDTH - 1.0, y - 1.0, 3.0, ROW - 1.0],
                "line",
                1.0,
                &tip,
            );
        }
        let mut value = format!("{:.1} %", 100.0 * row.after);
        if let Some(added) = row.added_words {
            value += &format!("; new words {:.1} %", 100.0 * added);
        }
        body += &text((left + WIDTH + 8.0, y + 11.0), "start", &value);
        y += ROW;
    }
    let style = "<style>text{font:12px sans-serif}.bar{fill:#3a6ea5}.line{fill:#c0392b}</style>";
    let drawing = frame(
        "Accuracy after tuning; the mark is the accuracy before",
        left + WIDTH + 180.0,
        y + 10.0,
        &body,
    );
    drawing
        .replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1)
        .replacen("</title>", &format!("</title>{style}"), 1)
}
