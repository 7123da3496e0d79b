//! The gradient of softmax regression, and the steps that it drives, against two f64 references that
//! share nothing with it: finite differences of the loss, and forward-mode automatic differentiation.

mod common;

use common::random::Random;
use std::ops::{Add, Div, Mul, Sub};
use tailtune::model::Features;
use tailtune::tune::*;

/// A number and its derivative.
#[derive(Clone, Copy)]
struct Dual(f64, f64);

impl Add for Dual {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0, self.1 + other.1)
    }
}
impl Sub for Dual {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0, self.1 - other.1)
    }
}
impl Mul for Dual {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self(self.0 * other.0, self.0 * other.1 + self.1 * other.0)
    }
}
impl Div for Dual {
    type Output = Self;
    fn div(self, by: Self) -> Self {
        let slope = (self.1 * by.0 - self.0 * by.1) / (by.0 * by.0);
        Self(self.0 / by.0, slope)
    }
}
impl Dual {
    fn exp(self) -> Self {
        Self(self.0.exp(), self.1 * self.0.exp())
    }
    fn ln(self) -> Self {
        Self(self.0.ln(), self.1 / self.0)
    }
}

/// A problem and its head in f64: rows of weights with the bias at their end.
struct Problem {
    rows: Vec<Vec<f64>>,
    values: Vec<i8>,
    scale: f32,
    zero_point: i8,
    label: u16,
}

impl Problem {
    fn new(random: &mut Random, d_model: usize, classes: usize) -> Self {
        let row = |random: &mut Random| (0..=d_model).map(|_| random.real().into()).collect();
        Self {
            rows: (0..classes).map(|_| row(random)).collect(),
            values: (0..d_model).map(|_| random.int8()).collect(),
            scale: 0.02 + 0.01 * random.real(),
            zero_point: random.int8(),
            label: random.below(classes) as u16,
        }
    }

    fn features(&self) -> Features<'_> {
        Features {
            values: &self.values,
            scale: self.scale,
            zero_point: self.zero_point,
        }
    }

    /// The inputs, with a 1 for the bias at their end.
    fn x(&self) -> Vec<f64> {
        let real = |&v: &i8| (f64::from(v) - f64::from(self.zero_point)) * f64::from(self.scale);
        self.values.iter().map(real).chain([1.0]).collect()
    }

    /// −ln(e^l[y] / Σ e^l), straight from the definition.
    fn loss(&self, rows: &[Vec<f64>]) -> f64 {
        let x = self.x();
        let dot = |row: &Vec<f64>| row.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>();
        let exps: Vec<f64> = rows.iter().map(|row| dot(row).exp()).collect();
        -(exps[usize::from(self.label)] / exps.iter().sum::<f64>()).ln()
    }

    fn by_differences(&self) -> Vec<Vec<f64>> {
        const H: f64 = 1e-5;
        let moved = |c: usize, k: usize, by: f64| {
            let mut rows = self.rows.clone();
            rows[c][k] += by;
            self.loss(&rows)
        };
        let slope = |c, k| (moved(c, k, H) - moved(c, k, -H)) / (2.0 * H);
        let indices = self.rows.iter().enumerate();
        indices
            .map(|(c, row)| (0..row.len()).map(|k| slope(c, k)).collect())
            .collect()
    }

    fn by_duals(&self) -> Vec<Vec<f64>> {
        let x = self.x();
        let slope = |of: (usize, usize)| {
            let exps: Vec<Dual> = (self.rows.iter().enumerate())
                .map(|(c, row)| {
                    let weight = |k| Dual(row[k], f64::from((c, k) == of));
                    let terms = (0..x.len()).map(|k| weight(k) * Dual(x[k], 0.0));
                    terms.fold(Dual(0.0, 0.0), Add::add).exp()
                })
                .collect();
            let sum = exps.iter().copied().fold(Dual(0.0, 0.0), Add::add);
            let loss = Dual(0.0, 0.0) - (exps[usize::from(self.label)] / sum).ln();
            loss.1
        };
        let indices = self.rows.iter().enumerate();
        indices
            .map(|(c, row)| (0..row.len()).map(|k| slope((c, k))).collect())
            .collect()
    }
}

/// Room for the largest shape here.
const D: usize = 70;
const C: usize = 20;

/// Runs `f` on a method that starts from a problem's rows.
fn with_method<R>(problem: &Problem, f: impl FnOnce(&mut Softmax<'_>) -> R) -> R {
    let mut head = HeadMemory::<D, C>::new();
    let mut memory = MomentumMemory::<D, C>::new();
    let d_model = problem.values.len();
    let origin = OriginFn::new(
        d_model,
        problem.rows.len(),
        |c, k| problem.rows[c][k] as f32,
        |c| problem.rows[c][d_model] as f32,
    );
    let head = LinearHead::new(head.buffers(), &origin).unwrap();
    let mut method = Softmax::new(head, memory.buffers(), Math::Exact).unwrap();
    f(&mut method)
}

fn rows(method: &Softmax<'_>) -> Vec<Vec<f64>> {
    let head = method.head();
    let row = |c: usize| {
        let bias = head.bias()[c];
        head.weights(c)
            .unwrap()
            .iter()
            .map(|&w| w.into())
            .chain([bias.into()])
            .collect()
    };
    (0..head.classes()).map(row).collect()
}

fn schedule(rate: f32, momentum: f32, decay: f32) -> Schedule {
    Schedule {
        learning_rate: rate,
        momentum,
        weight_decay: decay,
        ..Schedule::default()
    }
}

const SHAPES: [(usize, usize); 7] = [(1, 1), (1, 2), (3, 5), (8, 4), (13, 7), (64, 12), (70, 20)];

/// With rate 1 and neither momentum nor decay, what a step takes away is the gradient. It is rounded
/// to f32 together with the weight (|w| ≤ 1, gradient ≤ 8): 2⁻²³ · 8, and some for the logits.
#[test]
fn gradient_equals_both_references() {
    let mut random = Random(1);
    let mut checked = 0;
    for (d_model, classes) in SHAPES {
        for _ in 0..5 {
            let problem = Problem::new(&mut random, d_model, classes);
            let (loss, gradient) = with_method(&problem, |method| {
                method.begin_epoch(&schedule(1.0, 0.0, 0.0), 0).unwrap();
                let loss = method
                    .step(&problem.features(), problem.label, 1.0)
                    .unwrap();
                (loss, rows(method))
            });
            let want = problem.loss(&problem.rows);
            assert!((f64::from(loss) - want).abs() < 1e-5 * (1.0 + want));
            let (differences, duals) = (problem.by_differences(), problem.by_duals());
            for c in 0..classes {
                for k in 0..=d_model {
                    let found = problem.rows[c][k] - gradient[c][k];
                    let (a, b) = (differences[c][k], duals[c][k]);
                    assert!((a - b).abs() < 1e-7, "the references differ: {a} {b}");
                    assert!((found - b).abs() < 5e-6, "({c}, {k}): {found}, want {b}");
                    checked += 1;
                }
            }
        }
    }
    println!("{checked} derivatives");
}

/// A hundred steps of every variant stay with an f64 implementation of the published update rule.
#[test]
fn a_hundred_steps_follow_the_rule() {
    for (momentum, decay) in [(0.0, 0.0), (0.0, 0.05), (0.9, 0.0), (0.9, 0.05)] {
        let mut random = Random(7);
        for (d_model, classes) in SHAPES {
            let mut problem = Problem::new(&mut random, d_model, classes);
            let samples: Vec<_> = (0..10)
                .map(|_| Problem::new(&mut random, d_model, classes))
                .collect();
            let found = with_method(&problem, |method| {
                method
                    .begin_epoch(&schedule(0.01, momentum, decay), 0)
                    .unwrap();
                for step in 0..100 {
                    let sample = &samples[step % 10];
                    method.step(&sample.features(), sample.label, 1.0).unwrap();
                }
                rows(method)
            });
            // v ← µ·v + (g + λ·w), w ← w − η·v; no decay of biases.
            let (mu, lambda) = (f64::from(momentum), f64::from(decay));
            let mut velocity = vec![vec![0.0; d_model + 1]; classes];
            for step in 0..100 {
                let sample = &samples[step % 10];
                (problem.values, problem.label) = (sample.values.clone(), sample.label);
                (problem.scale, problem.zero_point) = (sample.scale, sample.zero_point);
                let gradient = problem.by_duals();
                for c in 0..classes {
                    for k in 0..=d_model {
                        let w = &mut problem.rows[c][k];
                        let pull = if k < d_model { lambda * *w } else { 0.0 };
                        velocity[c][k] = mu * velocity[c][k] + gradient[c][k] + pull;
                        *w -= f64::from(0.01f32) * velocity[c][k];
                    }
                }
            }
            for (found, want) in found.iter().flatten().zip(problem.rows.iter().flatten()) {
                assert!((found - want).abs() < 2e-5, "{found}, want {want}");
            }
        }
    }
}

/// The fast path differs, but goes the same way.
#[test]
fn fast_math_is_close() {
    let mut random = Random(3);
    let problem = Problem::new(&mut random, 64, 12);
    let exact = with_method(&problem, |method| {
        method.begin_epoch(&schedule(1.0, 0.0, 0.0), 0).unwrap();
        method
            .step(&problem.features(), problem.label, 1.0)
            .unwrap();
        rows(method)
    });
    let mut head = HeadMemory::<64, 12>::new();
    let mut memory = SoftmaxMemory::<64, 12>::new();
    let origin = OriginFn::new(
        64,
        12,
        |c, k| problem.rows[c][k] as f32,
        |c| problem.rows[c][64] as f32,
    );
    let head = LinearHead::new(head.buffers(), &origin).unwrap();
    let mut method = Softmax::new(head, memory.buffers(), Math::Fast).unwrap();
    method.begin_epoch(&schedule(1.0, 0.0, 0.0), 0).unwrap();
    method
        .step(&problem.features(), problem.label, 1.0)
        .unwrap();
    for (fast, exact) in rows(&method).iter().flatten().zip(exact.iter().flatten()) {
        assert!((fast - exact).abs() < 0.02, "{fast} {exact}");
    }
}
