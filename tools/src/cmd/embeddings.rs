//! `tailtune eval --embeddings`: how far the int8 model's features point where the float model's do.

use super::CommandError;
use super::terminal::{print, print_json, progress};
use crate::float_model::FloatModel;
use crate::int8::Int8Model;
use crate::reference::{ModelInput, forward};
use rayon::prelude::*;
use serde_json::json;

/// Cosines of float and int8 features, ascending.
pub struct Cosines(Vec<f64>);

impl Cosines {
    /// Runs both models on the same inputs.
    pub fn measure(
        model: &FloatModel,
        int8: &Int8Model,
        inputs: &[ModelInput],
    ) -> Result<Self, CommandError> {
        let bar = progress("float reference, inputs", inputs.len());
        let one = |input: &ModelInput| {
            let feature = forward(model, input.float(), &mut ()).pooled;
            bar.inc(1);
            feature
        };
        let float: Vec<Vec<f32>> = inputs.par_iter().map(one).collect();
        bar.finish_and_clear();
        let bar = progress("int8, inputs", inputs.len());
        let found = int8.run(&int8.prepare(inputs)?, &|| bar.inc(1))?;
        bar.finish_and_clear();
        let (_, zero) = crate::adapt::feature_scale(int8);
        // The scale is the same for all columns: a cosine does not see it.
        let real = |q: &i8| f64::from(*q) - f64::from(zero);
        let pairs = float.iter().zip(&found);
        let mut cosines: Vec<f64> = pairs
            .map(|(exact, found)| {
                let found: Vec<f64> = found.pooled.iter().map(real).collect();
                let exact: Vec<f64> = exact.iter().map(|&x| x.into()).collect();
                cosine(&exact, &found)
            })
            .collect();
        cosines.sort_by(f64::total_cmp);
        Ok(Self(cosines))
    }

    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len().max(1) as f64
    }

    /// Returns the cosine that a share of the inputs stays below.
    fn quantile(&self, share: f64) -> f64 {
        let at = (self.0.len().saturating_sub(1) as f64 * share).round() as usize;
        self.0.get(at).copied().unwrap_or(0.0)
    }

    /// Prints them.
    pub fn print(&self, as_json: bool) -> Result<(), CommandError> {
        let (n, mean) = (self.0.len(), self.mean());
        let (least, first) = (self.quantile(0.0), self.quantile(0.01));
        if as_json {
            return print_json(&json!({
                "n": n, "mean_cosine": mean, "first_percentile": first, "least_cosine": least,
            }));
        }
        print(&format!("samples         {n}"))?;
        print(&format!(
            "cosine of float and int8 features: mean {mean:.4}, 1 % below {first:.4}, least {least:.4}"
        ))
    }
}

/// Returns the cosine of the angle between two vectors; 0 where one has no direction.
fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let size = libm::sqrt(dot(a, a) * dot(b, b));
    if size > 0.0 { dot(a, b) / size } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_of_angles() {
        assert!((cosine(&[1.0, 2.0], &[2.0, 4.0]) - 1.0).abs() < 1e-12);
        assert!(cosine(&[1.0, 0.0], &[0.0, 3.0]).abs() < 1e-12);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 1.0]), 0.0);
        let cosines = Cosines(vec![0.5, 0.7, 0.9]);
        assert!((cosines.mean() - 0.7).abs() < 1e-12);
        assert_eq!((cosines.quantile(0.0), cosines.quantile(1.0)), (0.5, 0.9));
    }
}
