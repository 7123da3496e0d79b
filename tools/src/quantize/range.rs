//! The range of a quantized tensor: min-max, percentiles and shrunk ranges, the one with the
//! smallest measured error.

/// How a range was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RangeMethod {
    /// The least and the greatest value.
    MinMax,
    /// The values between these two quantiles, `p` and `1 − p`.
    Percentile(f64),
    /// The least-squares search: min-max shrunk by this factor.
    Mse(f64),
}

impl std::fmt::Display for RangeMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MinMax => write!(f, "min-max"),
            Self::Percentile(p) => write!(f, "percentile {}", 100.0 * (1.0 - p)),
            Self::Mse(shrink) => write!(f, "mse {shrink:.2}"),
        }
    }
}

/// What calibration saw of one tensor: its extremes and an even sample of its values.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Least value.
    pub min: f32,
    /// Greatest value.
    pub max: f32,
    sample: Vec<f32>,
    /// Every `stride`-th value is kept.
    stride: usize,
    /// Values to pass over before the next one is kept.
    skip: usize,
}

/// Values that are kept of one tensor, at most.
const SAMPLE: usize = 32_768;

impl Default for Observed {
    fn default() -> Self {
        Self {
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            sample: Vec::new(),
            stride: 1,
            skip: 0,
        }
    }
}

impl Observed {
    /// Takes values in.
    pub fn add(&mut self, values: &[f32]) {
        for &x in values {
            self.min = self.min.min(x);
            self.max = self.max.max(x);
        }
        let mut at = self.skip;
        while let Some(&x) = values.get(at) {
            if self.sample.len() == SAMPLE {
                // Full: keep every other value and go on at half the rate. An odd factor keeps the
                // sample from falling on the same columns of every row.
                let mut keep = (0..SAMPLE).map(|i| i % 2 == 0);
                self.sample.retain(|_| keep.next().unwrap_or(false));
                self.stride = 2 * self.stride + 1;
            }
            self.sample.push(x);
            at += self.stride;
        }
        self.skip = at - values.len();
    }

    /// Returns the largest absolute value.
    pub fn abs_max(&self) -> f32 {
        self.min.abs().max(self.max.abs())
    }

    /// Chooses the int8 quantization with the least squared error on the sample, measured after
    /// `through` (the identity, or the activation that follows).
    pub fn choose(&self, symmetric: bool, through: &dyn Fn(f32) -> f32) -> Quantization {
        let mut sorted = self.sample.clone();
        sorted.sort_by(f32::total_cmp);
        let quantile = |p: f64| sorted[((sorted.len() - 1) as f64 * p).round() as usize];
        let (min, max) = (self.min, self.max);
        let mut candidates = vec![(RangeMethod::MinMax, min, max)];
        for p in [1e-4, 1e-3] {
            candidates.push((RangeMethod::Percentile(p), quantile(p), quantile(1.0 - p)));
        }
        for step in 1..=12 {
            let shrink = 1.0 - 0.05 * f64::from(step);
            let s = shrink as f32;
            candidates.push((RangeMethod::Mse(shrink), min * s, max * s));
            if !symmetric {
                candidates.push((RangeMethod::Mse(shrink), min * s, max));
                candidates.push((RangeMethod::Mse(shrink), min, max * s));
            }
        }
        let measured = candidates.into_iter().map(|(method, low, high)| {
            let q = Quantization::new(low, high, symmetric, method);
            let error = self
                .sample
                .iter()
                .map(|&x| f64::from(through(q.dequantize(q.quantize(x))) - through(x)).powi(2));
            (error.sum::<f64>(), q)
        });
        let best = measured.min_by(|a, b| a.0.total_cmp(&b.0));
        best.map_or_else(
            || Quantization::new(-1.0, 1.0, symmetric, RangeMethod::MinMax),
            |(_, q)| q,
        )
    }

    /// Returns the share of sampled values that `q` clips.
    pub fn clipped(&self, q: &Quantization) -> f64 {
        let (low, high) = (q.dequantize(-128), q.dequantize(127));
        let half = (q.scale / 2.0) as f32;
        let out = self
            .sample
            .iter()
            .filter(|&&x| x < low - half || x > high + half)
            .count();
        out as f64 / self.sample.len().max(1) as f64
    }
}

/// An int8 quantization: `real = (q − zero_point) · scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantization {
    /// Real value of one step.
    pub scale: f64,
    /// The int8 value that stands for zero.
    pub zero_point: i32,
    /// How its range was chosen.
    pub method: RangeMethod,
}

impl Quantization {
    /// Returns the quantization of a range (widened to contain zero).
    pub fn new(min: f32, max: f32, symmetric: bool, method: RangeMethod) -> Self {
        let (min, max) = (f64::from(min).min(0.0), f64::from(max).max(0.0));
        if symmetric {
            let scale = (max.max(-min) / 127.0).max(1e-9);
            return Self {
                scale,
                zero_point: 0,
                method,
            };
        }
        let scale = ((max - min) / 255.0).max(1e-9);
        let zero_point = (-128.0 - min / scale).round().clamp(-128.0, 127.0) as i32;
        Self {
            scale,
            zero_point,
            method,
        }
    }

    /// Returns the int8 value of a real one.
    pub fn quantize(&self, x: f32) -> i32 {
        ((f64::from(x) / self.scale).round() + f64::from(self.zero_point)).clamp(-128.0, 127.0)
            as i32
    }

    /// Returns the real value of an int8 one.
    pub fn dequantize(&self, q: i32) -> f32 {
        (f64::from(q - self.zero_point) * self.scale) as f32
    }
}
