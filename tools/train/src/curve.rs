//! The training curve: what each report of a run printed, as CSV and as a plot.

use crate::error::TrainError;
use plotters::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

/// Values by the step after which they were reported.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Curve {
    rows: Vec<(u64, BTreeMap<String, f64>)>,
}

impl Curve {
    /// Adds a report.
    pub fn push(&mut self, step: u64, values: BTreeMap<String, f64>) {
        self.rows.push((step, values));
    }

    /// Returns the latest value of a name.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.rows
            .iter()
            .rev()
            .find_map(|(_, v)| v.get(name).copied())
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .rows
            .iter()
            .flat_map(|(_, v)| v.keys().map(String::as_str))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Returns `step,name,value` lines.
    pub fn csv(&self) -> String {
        let mut text = String::from("step,name,value\n");
        for (step, values) in &self.rows {
            for (name, value) in values {
                text += &format!("{step},{name},{value}\n");
            }
        }
        text
    }

    /// Reads what [`csv`](Self::csv) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let mut curve = Self::default();
        for line in text.lines().skip(1) {
            let mut fields = line.split(',');
            let step = fields.next()?.parse().ok()?;
            let (name, value) = (fields.next()?.to_owned(), fields.next()?.parse().ok()?);
            match curve.rows.last_mut() {
                Some((last, values)) if *last == step => {
                    values.insert(name, value);
                }
                _ => curve.rows.push((step, BTreeMap::from([(name, value)]))),
            }
        }
        Some(curve)
    }

    /// Draws one panel a name, steps to the right.
    ///
    /// # Errors
    /// [`TrainError::Plot`] names the file.
    pub fn plot(&self, title: &str, path: &Path) -> Result<(), TrainError> {
        let fail = |reason: String| TrainError::Plot {
            path: path.into(),
            reason,
        };
        let names = self.names();
        let mut svg = String::new();
        {
            let height = 60 + 240 * names.len() as u32;
            let root = SVGBackend::with_string(&mut svg, (900, height)).into_drawing_area();
            root.fill(&WHITE).map_err(|e| fail(e.to_string()))?;
            let root = root
                .titled(title, ("sans-serif", 24))
                .map_err(|e| fail(e.to_string()))?;
            for (panel, name) in root
                .split_evenly((names.len().max(1), 1))
                .iter()
                .zip(&names)
            {
                self.panel(name, panel).map_err(|e| fail(e.to_string()))?;
            }
        }
        Ok(tailtune_tools::export::write_whole(path, svg.as_bytes())?)
    }

    fn panel<DB: DrawingBackend>(
        &self,
        name: &str,
        area: &DrawingArea<DB, plotters::coord::Shift>,
    ) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
        let points: Vec<(f64, f64)> = self
            .rows
            .iter()
            .filter_map(|(step, v)| Some((*step as f64, *v.get(name)?)))
            .filter(|(_, y)| y.is_finite())
            .collect();
        let (low, high) = points.iter().fold((f64::MAX, f64::MIN), |(l, h), (_, y)| {
            (l.min(*y), h.max(*y))
        });
        let margin = ((high - low) * 0.05).max(1e-9);
        let end = points.last().map_or(1.0, |p| p.0.max(1.0));
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .caption(name, ("sans-serif", 16))
            .x_label_area_size(28)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end, (low - margin)..(high + margin))?;
        chart
            .configure_mesh()
            .x_desc("step")
            .max_light_lines(1)
            .draw()?;
        chart.draw_series(LineSeries::new(points, BLUE.stroke_width(2)))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_read_back_and_drawn() {
        let mut curve = Curve::default();
        curve.push(
            10,
            BTreeMap::from([("loss".into(), 2.5), ("accuracy".into(), 0.25)]),
        );
        curve.push(20, BTreeMap::from([("loss".into(), 1.5)]));
        assert_eq!(Curve::parse(&curve.csv()).as_ref(), Some(&curve));
        assert_eq!(
            (curve.last("accuracy"), curve.last("loss")),
            (Some(0.25), Some(1.5))
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("training.svg");
        curve.plot("a run", &path).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("accuracy") && svg.contains("polyline"));
    }
}
