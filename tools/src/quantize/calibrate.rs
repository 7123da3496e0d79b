//! What the float model does on real data: ranges of every tensor that is to be quantized.

use super::range::Observed;
use crate::reference::{Probe, Site};
use std::collections::HashMap;

/// Rows that are kept of a linear layer's input, at most.
const ROWS: usize = 512;

/// What was seen at one site.
#[derive(Debug, Clone, Default)]
pub struct SiteStatistics {
    /// All values together.
    pub all: Observed,
    /// Least and greatest value of each column.
    pub columns: Vec<(f32, f32)>,
    /// Some whole rows, evenly spread.
    pub rows: Vec<Vec<f32>>,
    stride: usize,
    seen: usize,
}

impl SiteStatistics {
    fn add(&mut self, values: &[f32], cols: usize) {
        self.all.add(values);
        self.columns
            .resize(cols, (f32::INFINITY, f32::NEG_INFINITY));
        self.stride = self.stride.max(1);
        for row in values.chunks_exact(cols) {
            for ((min, max), &x) in self.columns.iter_mut().zip(row) {
                *min = min.min(x);
                *max = max.max(x);
            }
            if self.seen.is_multiple_of(self.stride) {
                if self.rows.len() == ROWS {
                    let mut keep = (0..ROWS).map(|i| i % 2 == 0);
                    self.rows.retain(|_| keep.next().unwrap_or(false));
                    self.stride *= 2;
                }
                self.rows.push(row.to_vec());
            }
            self.seen += 1;
        }
    }
}

/// A probe that keeps the statistics of every site.
#[derive(Debug, Clone, Default)]
pub struct Calibration {
    sites: HashMap<Site, SiteStatistics>,
}

impl Calibration {
    /// Returns what was seen at `site`; none if nothing was.
    pub fn get(&self, site: Site) -> Option<&SiteStatistics> {
        self.sites.get(&site)
    }
}

impl Probe for Calibration {
    fn record(&mut self, site: Site, values: &[f32], cols: usize) {
        self.sites.entry(site).or_default().add(values, cols);
    }
}
