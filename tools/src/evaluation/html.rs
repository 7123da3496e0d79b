//! The report as one HTML page that needs nothing else: no scripts, no fonts, inline SVG.

use super::{Column, Evaluation, svg};
use std::fmt::Write;

const STYLE: &str = ":root{color-scheme:light dark;--ink:#1c2430;--page:#fff;--mark:#2a6fbb;--rule:#ccd3db}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ee;--page:#14181d;--mark:#6aa9ee;--rule:#3a424c}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}td,th{padding:.25rem .8rem;border-bottom:1px solid var(--rule);text-align:right}
td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto;margin:.5rem 1.5rem .5rem 0;vertical-align:top}
text{fill:var(--ink);font-size:12px}.cell,.bar{fill:var(--mark)}.plot{fill:none;stroke:var(--rule)}
.line{stroke:var(--ink);stroke-dasharray:4 3}";

/// Returns text that stands for itself in HTML and in SVG, between tags and in attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // What neither HTML nor XML can hold.
            c if c.is_control() && !c.is_ascii_whitespace() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Returns the page; `subject` and `data` say what was evaluated on what.
pub fn page(subject: &str, data: &str, evaluation: &Evaluation) -> String {
    let mut body = format!(
        "<h1>Evaluation of {}</h1>\n<p>{} samples of {}</p>\n{}",
        escape(subject),
        evaluation.n,
        escape(data),
        summary(evaluation)
    );
    for column in &evaluation.columns {
        body += &section(&evaluation.labels, column);
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>Evaluation of {}</title>\n<style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n",
        escape(subject)
    )
}

fn summary(evaluation: &Evaluation) -> String {
    let mut rows = String::from(
        "<table><tr><th></th><th>accuracy</th><th>macro-F1</th><th>calibration error</th><th>NLL, nats</th></tr>\n",
    );
    let number = |x: Option<f64>| x.map_or("-".to_owned(), |x| format!("{x:.4}"));
    for c in &evaluation.columns {
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td>{:.2} %</td><td>{}</td><td>{:.4}</td><td>{}</td></tr>",
            c.name,
            100.0 * c.top1,
            number(c.macro_f1),
            c.ece,
            number(c.nll)
        );
    }
    rows += "</table>\n";
    for a in evaluation.agreements() {
        let [x, y] = a.between;
        let _ = writeln!(rows, "<p>{x} and {y} agree on {:.2} %</p>", 100.0 * a.share);
    }
    rows
}

fn section(labels: &[String], column: &Column) -> String {
    format!(
        "<h2>{}</h2>\n<h3>Confusion (truth by row, prediction by column)</h3>\n{}<h3>Reliability</h3>\n{}<h3>Classes: recall, precision, F1 (dark to light)</h3>\n{}",
        column.name,
        svg::confusion(labels, &column.confusion),
        svg::reliability(&column.reliability),
        svg::classes(&column.per_class)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_text_and_never_markup() {
        let labels = ["<b>&\"".to_owned(), "صفر".to_owned()];
        let logits = [vec![1.0, 0.0], vec![1.0, 0.0]];
        let column = Column::new("int8", &labels, &[Some(0), Some(1)], &logits);
        let all = Evaluation {
            n: 2,
            labels: labels.to_vec(),
            columns: vec![column],
        };
        let page = page("a<i>.bin", "d & d", &all);
        assert!(!page.contains("<b>") && !page.contains("<i>"));
        assert!(page.contains("&lt;b&gt;&amp;&quot; taken for صفر: 0"));
        assert!(page.contains("صفر taken for &lt;b&gt;&amp;&quot;: 1"));
        assert!(page.contains("d &amp; d") && page.contains("50.00 %"));
        for outside in ["http", "<script", "url(", "@import", "<link"] {
            assert!(!page.contains(outside), "{outside}");
        }
        let count = |tag: &str| page.matches(tag).count();
        assert_eq!(count("<svg"), 3);
        for tag in ["svg", "g", "text", "table", "title"] {
            let opened = count(&format!("<{tag} ")) + count(&format!("<{tag}>"));
            assert_eq!(opened, count(&format!("</{tag}>")), "{tag}");
        }
    }
}
