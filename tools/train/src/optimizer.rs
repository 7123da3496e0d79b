//! AdamW over named parameters, with the gradient clipped to a global norm.

use crate::params::Params;
use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer as _};
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeMap;

/// First and second moment of one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Steps taken.
    pub time: usize,
    /// Mean of the gradient.
    pub first: Vec<f32>,
    /// Mean of its square.
    pub second: Vec<f32>,
}

/// AdamW (Loshchilov & Hutter, arXiv 1711.05101) with β₁ 0.9, β₂ 0.98, ε 1e-8.
pub struct Optimizer {
    decaying: AdamW,
    plain: AdamW,
    clip_norm: f32,
    device: Device,
    states: BTreeMap<String, AdamWState<1>>,
}

impl Optimizer {
    /// Returns an optimizer that has taken no step.
    pub fn new(weight_decay: f32, clip_norm: f32) -> Self {
        let config = |decay: f32| {
            AdamWConfig::new()
                .with_beta_1(0.9)
                .with_beta_2(0.98)
                .with_epsilon(1e-8)
                .with_weight_decay(decay)
                .build()
        };
        Self {
            decaying: config(weight_decay),
            plain: config(0.0),
            clip_norm,
            device: Device::flex(),
            states: BTreeMap::new(),
        }
    }

    /// Moves the parameters against `gradients`, given in their order, and returns the gradient's
    /// norm before clipping. A parameter without a gradient stays.
    pub fn step(&mut self, params: &mut Params, gradients: &[Option<Vec<f32>>], rate: f64) -> f32 {
        let squares = gradients.iter().flatten().flatten();
        let norm = libm::sqrt(squares.map(|&g| f64::from(g) * f64::from(g)).sum()) as f32;
        let scale = if norm > self.clip_norm {
            self.clip_norm / norm
        } else {
            1.0
        };
        for (param, gradient) in params.iter_mut().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            let optimizer = if param.decays() {
                &self.decaying
            } else {
                &self.plain
            };
            let gradient = gradient.iter().map(|g| g * scale).collect();
            let values = &mut param.tensor.values;
            let state = self.states.remove(&param.tensor.name);
            let (moved, state) = optimizer.step(
                rate,
                self.tensor(values.clone()),
                self.tensor(gradient),
                state,
            );
            *values = crate::graph::values(moved);
            if let Some(state) = state {
                self.states.insert(param.tensor.name.clone(), state);
            }
        }
        norm
    }

    fn tensor(&self, values: Vec<f32>) -> Tensor<1> {
        let len = values.len();
        Tensor::from_data(TensorData::new(values, [len]), &self.device)
    }

    /// Returns each parameter's moments, for a checkpoint.
    pub fn moments(&self) -> BTreeMap<String, Moments> {
        let one = |(name, state): (&String, &AdamWState<1>)| {
            let m = &state.momentum;
            let moments = Moments {
                time: m.time,
                first: crate::graph::values(m.moment_1.clone()),
                second: crate::graph::values(m.moment_2.clone()),
            };
            (name.clone(), moments)
        };
        self.states.iter().map(one).collect()
    }

    /// Takes the moments of a checkpoint.
    pub fn restore(&mut self, moments: BTreeMap<String, Moments>) {
        for (name, m) in moments {
            let momentum = AdaptiveMomentumState {
                time: m.time,
                moment_1: self.tensor(m.first),
                moment_2: self.tensor(m.second),
                max_moment_2: None,
            };
            self.states.insert(name, AdamWState { momentum });
        }
    }
}
