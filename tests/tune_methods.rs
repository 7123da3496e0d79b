//! Class means, ridge, Adam, batches, and the guard, each against its formula in f64.

mod common;

use common::random::Random;
use tailtune::model::Features;
use tailtune::tune::*;

const D: usize = 7;
const C: usize = 4;
const SCALE: f32 = 0.05;
const ZERO_POINT: i8 = 3;
const F: usize = ridge::factor_len(D);

type Sample = ([i8; D], u16);

fn features(values: &[i8]) -> Features<'_> {
    Features {
        values,
        scale: SCALE,
        zero_point: ZERO_POINT,
    }
}

fn real(values: &[i8]) -> Vec<f64> {
    let real = |&v: &i8| f64::from(i32::from(v) - i32::from(ZERO_POINT)) * f64::from(SCALE);
    values.iter().map(real).collect()
}

fn samples(n: usize, classes: usize, seed: u64) -> Vec<Sample> {
    let mut random = Random(seed);
    (0..n)
        .map(|i| {
            (
                core::array::from_fn(|_| random.int8()),
                (i % classes) as u16,
            )
        })
        .collect()
}

fn names(classes: usize) -> impl Iterator<Item = &'static str> {
    ["a", "b", "c", "d"].into_iter().take(classes)
}

const SCRATCH: FromScratch = FromScratch { d_model: D };

/// Samples of a slice, for a fit.
struct Slice<'s>(&'s [Sample]);

impl Samples for Slice<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn get(&mut self, index: usize) -> Option<(Features<'_>, u16)> {
        self.0
            .get(index)
            .map(|(values, label)| (features(values), *label))
    }
}

/// W of (λI + XᵀX)·W = XᵀY by Gauss elimination, rows of classes, the bias last.
fn solve_ridge(samples: &[(Sample, f64)], classes: usize, lambda: f64) -> Vec<Vec<f64>> {
    let n = D + 1;
    let mut a = vec![vec![0.0; n + classes]; n];
    for (i, row) in a.iter_mut().enumerate() {
        row[i] = if i == D { 1e-3 } else { lambda };
    }
    for ((values, label), weight) in samples {
        let x: Vec<f64> = real(values).into_iter().chain([1.0]).collect();
        for i in 0..n {
            for j in 0..n {
                a[i][j] += weight * x[i] * x[j];
            }
            a[i][n + usize::from(*label)] += weight * x[i];
        }
    }
    for i in 0..n {
        let pivot = a[i][i];
        a[i].iter_mut().for_each(|x| *x /= pivot);
        for j in 0..n {
            if i != j {
                let factor = a[j][i];
                let own = a[i].clone();
                a[j].iter_mut().zip(own).for_each(|(x, y)| *x -= factor * y);
            }
        }
    }
    (0..classes)
        .map(|c| a.iter().map(|row| row[n + c]).collect())
        .collect()
}

fn assert_head(head: &LinearHead<'_>, want: &[Vec<f64>], within: f64) {
    for (class, want) in want.iter().enumerate() {
        let found = head
            .weights(class)
            .unwrap()
            .iter()
            .chain([&head.bias()[class]]);
        for (found, want) in found.zip(want) {
            assert!(
                (f64::from(*found) - want).abs() < within,
                "class {class}: {found}, {want}"
            );
        }
    }
}

#[test]
fn ridge_is_the_closed_form_gathered_or_one_by_one() {
    let all = samples(40, C, 5);
    let options = RidgeOptions { lambda: 2.0 };
    let weighted: Vec<(Sample, f64)> = all.iter().map(|s| (*s, 1.0)).collect();
    let want = solve_ridge(&weighted, C, 2.0);

    let (mut head, mut memory) = (HeadMemory::<D, C>::new(), RidgeMemory::<D, C, F>::new());
    let head = LinearHead::new(head.buffers(), &SCRATCH).unwrap();
    let mut gathered = Ridge::new(head, memory.buffers(), options, None).unwrap();
    names(C).for_each(|n| _ = gathered.add_class(n).unwrap());
    let report = Fit::new(&mut gathered, &mut Slice(&all), &Schedule::default())
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!((report.epochs, report.steps), (1, 40));
    assert_head(gathered.head(), &want, 2e-4);

    let (mut head, mut memory) = (HeadMemory::<D, C>::new(), RidgeMemory::<D, C, F>::new());
    let head = LinearHead::new(head.buffers(), &SCRATCH).unwrap();
    let mut streamed = Ridge::new(head, memory.buffers(), options, None).unwrap();
    names(C).for_each(|n| _ = streamed.add_class(n).unwrap());
    for (values, label) in &all {
        streamed.learn(&features(values), *label, 1.0).unwrap();
    }
    assert_head(streamed.head(), &want, 5e-4);

    // From a tail on, samples that count five times, in one fit: as if there had been no reset.
    let mut bytes = vec![0; gathered.tail_bytes()];
    gathered.emit_tail(&mut bytes).unwrap();
    let tail = Tail::parse(&bytes).unwrap();
    let (mut head, mut memory) = (HeadMemory::<D, C>::new(), RidgeMemory::<D, C, F>::new());
    let head = LinearHead::new(head.buffers(), &tail).unwrap();
    let state = tail.state(MethodId::Ridge);
    assert!(tail.state(MethodId::Ncm).is_none());
    let mut more = Ridge::new(head, memory.buffers(), options, state).unwrap();
    let again = samples(12, C, 77);
    let schedule = Schedule {
        emphasis: 5.0,
        ..Schedule::default()
    };
    Fit::new(&mut more, &mut Slice(&again), &schedule)
        .unwrap()
        .finish()
        .unwrap();
    let weighted: Vec<(Sample, f64)> = weighted
        .into_iter()
        .chain(again.iter().map(|s| (*s, 5.0)))
        .collect();
    assert_head(more.head(), &solve_ridge(&weighted, C, 2.0), 5e-4);
    more.restore();
    assert_head(more.head(), &want, 2e-4);
}

#[test]
fn means_are_means_and_a_class_can_be_forgotten() {
    let all = samples(20, 3, 9);
    let (mut head, mut memory) = (HeadMemory::<D, C>::new(), NcmMemory::<D, C>::new());
    let head = LinearHead::new(head.buffers(), &SCRATCH).unwrap();
    let mut ncm = Ncm::new(head, memory.buffers(), None).unwrap();
    names(4).for_each(|n| _ = ncm.add_class(n).unwrap());
    Fit::new(&mut ncm, &mut Slice(&all), &Schedule::default())
        .unwrap()
        .finish()
        .unwrap();
    let mean = |class: u16| -> Vec<f64> {
        let own: Vec<Vec<f64>> = all
            .iter()
            .filter(|s| s.1 == class)
            .map(|s| real(&s.0))
            .collect();
        (0..D)
            .map(|k| own.iter().map(|x| x[k]).sum::<f64>() / own.len() as f64)
            .collect()
    };
    let distance =
        |x: &[f64], m: &[f64]| x.iter().zip(m).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    for (values, _) in samples(30, 3, 123) {
        let x = real(&values);
        let distances: Vec<f64> = (0..3).map(|c| distance(&x, &mean(c))).collect();
        let best = (0..3)
            .min_by(|a, b| distances[*a].total_cmp(&distances[*b]))
            .unwrap();
        assert_eq!(
            ncm.predict(&features(&values)),
            Ok(best as u16),
            "class 3 has no sample"
        );
        let nearest = ncm.nearest(&features(&values)).unwrap().unwrap();
        assert!((f64::from(nearest.distance) - distances[best]).abs() < 1e-2);
    }
    assert_eq!((ncm.count(0), ncm.count(3)), (7.0, 0.0));

    // After a reset the means go on growing.
    let mut bytes = vec![0; ncm.tail_bytes()];
    ncm.emit_tail(&mut bytes).unwrap();
    let tail = Tail::parse(&bytes).unwrap();
    let (mut head, mut memory) = (HeadMemory::<D, C>::new(), NcmMemory::<D, C>::new());
    let head = LinearHead::new(head.buffers(), &tail).unwrap();
    let mut again = Ncm::new(head, memory.buffers(), tail.state(MethodId::Ncm)).unwrap();
    let (values, _) = all[0];
    ncm.step(&features(&values), 1, 1.0).unwrap();
    again.step(&features(&values), 1, 1.0).unwrap();
    assert_eq!(ncm.head().weights(1), again.head().weights(1));
    again.forget(0);
    for (values, _) in &all {
        assert_ne!(again.predict(&features(values)), Ok(0));
    }
}

fn softmax_after(schedule: &Schedule, all: &[Sample]) -> (Vec<f32>, Report) {
    let (mut head, mut memory) = (HeadMemory::<D, C>::new(), AdamMemory::<D, C>::new());
    let mut head = LinearHead::new(head.buffers(), &SCRATCH).unwrap();
    names(C).for_each(|n| _ = head.add_class(n).unwrap());
    let mut softmax = Softmax::new(head, memory.buffers(), Math::Exact).unwrap();
    let report = Fit::new(&mut softmax, &mut Slice(all), schedule)
        .unwrap()
        .finish()
        .unwrap();
    let head = softmax.head();
    let weights = (0..C).flat_map(|c| head.weights(c).unwrap().to_vec());
    (weights.collect(), report)
}

/// The first step of a batch of all samples, from zero: the mean gradient of p = 1/C.
#[test]
fn a_batch_is_one_step_of_the_mean_gradient() {
    let all = samples(12, C, 31);
    let mut schedule = Schedule {
        epochs: 1,
        batch: 12,
        learning_rate: 0.1,
        momentum: 0.0,
        label_smoothing: 0.2,
        ..Schedule::default()
    };
    let gradient = |c: usize, k: usize| -> f64 {
        let of = |s: &Sample| {
            let target = if usize::from(s.1) == c { 0.8 } else { 0.0 } + 0.2 / C as f64;
            (1.0 / C as f64 - target) * real(&s.0)[k]
        };
        all.iter().map(of).sum::<f64>() / 12.0
    };
    let (weights, report) = softmax_after(&schedule, &all);
    assert!((f64::from(report.first_loss) - (C as f64).ln()).abs() < 1e-5);
    for (i, w) in weights.iter().enumerate() {
        let want = -0.1 * gradient(i / D, i % D);
        assert!((f64::from(*w) - want).abs() < 1e-6, "{i}: {w}, {want}");
    }
    // Momentum's first step is the same.
    schedule.momentum = 0.9;
    assert_eq!(softmax_after(&schedule, &all).0, weights);
    // Adam's first step is the rate against the sign of the gradient.
    schedule.optimizer = Optimizer::Adam;
    for (i, w) in softmax_after(&schedule, &all).0.iter().enumerate() {
        let g = gradient(i / D, i % D);
        if g.abs() > 1e-3 {
            assert!(
                (f64::from(*w) + 0.1 * g.signum()).abs() < 1e-4,
                "{i}: {w}, {g}"
            );
        }
    }
}

#[test]
fn a_worse_tune_is_rolled_back_and_a_good_one_stays() {
    // Labels that contradict the samples held back, every third of a class.
    let mut all = samples(60, 2, 3);
    for (values, label) in &mut all {
        values[0] = if *label == 0 { 100 } else { -100 };
    }
    let mut seen = [0; 2];
    let mut lying = all.clone();
    for (values, label) in &mut lying {
        let count = &mut seen[usize::from(*label)];
        *count += 1;
        if *count % 3 != 0 {
            values[0] = -values[0];
        }
    }
    let origin = OriginFn::new(
        D,
        2,
        |c, k| if k == 0 { 0.5 - c as f32 } else { 0.0 },
        |_| 0.0,
    );
    let fit = |samples: &[Sample]| {
        let (mut head, mut memory) = (HeadMemory::<D, C>::new(), MomentumMemory::<D, C>::new());
        let head = LinearHead::new(head.buffers(), &origin).unwrap();
        let mut softmax = Softmax::new(head, memory.buffers(), Math::Exact).unwrap();
        let schedule = Schedule {
            hold_back: 3,
            ..Schedule::default()
        };
        let report = Fit::new(&mut softmax, &mut Slice(samples), &schedule)
            .unwrap()
            .finish()
            .unwrap();
        (report, softmax.head().weights(0).unwrap().to_vec())
    };
    let (report, weights) = fit(&lying);
    let verdict = report.guard.unwrap();
    assert_eq!((verdict.before.right, verdict.before.total), (20, 20));
    assert!(verdict.after.right < 20 && report.rolled_back());
    assert_eq!(weights[..2], [0.5, 0.0], "the origin's");
    assert_eq!(
        report.steps,
        20 * 40,
        "what is held back is not learned from"
    );
    let (report, weights) = fit(&all);
    assert!(!report.rolled_back() && weights[0] != 0.5);
}

#[test]
fn a_fit_ends_early_and_classes_count_alike() {
    let all = samples(8, 2, 17);
    let schedule = Schedule {
        epochs: 500,
        patience: 3,
        learning_rate: 0.5,
        momentum: 0.0,
        ..Schedule::default()
    };
    // Steps too large to settle: the loss stops falling long before the end.
    let (_, report) = softmax_after(&schedule, &all);
    assert!(report.epochs < 500, "{report:?}");

    // Nine samples of class 0 and one of class 1: balanced, each class weighs 5.
    let mut uneven = samples(10, 1, 4);
    uneven[9].1 = 1;
    let balanced = Schedule {
        epochs: 1,
        batch: 10,
        learning_rate: 1.0,
        momentum: 0.0,
        class_balance: true,
        ..Schedule::default()
    };
    let (weights, _) = softmax_after(&balanced, &uneven);
    let gradient = |k: usize| -> f64 {
        let of = |s: &Sample| {
            let weight = if s.1 == 0 { 10.0 / 18.0 } else { 5.0 };
            weight * (0.25 - f64::from(u8::from(s.1 == 1))) * real(&s.0)[k]
        };
        uneven.iter().map(of).sum::<f64>() / 10.0
    };
    for k in 0..D {
        assert!(
            (f64::from(weights[D + k]) + gradient(k)).abs() < 1e-5,
            "{k}"
        );
    }
}

#[test]
fn unsure_predictions_are_rejected_and_pseudo_labels_have_a_band() {
    let all = samples(40, 2, 8);
    let (mut head, mut memory) = (HeadMemory::<D, C>::new(), MomentumMemory::<D, C>::new());
    let mut head = LinearHead::new(head.buffers(), &SCRATCH).unwrap();
    names(2).for_each(|n| _ = head.add_class(n).unwrap());
    let mut softmax = Softmax::new(head, memory.buffers(), Math::Exact).unwrap();
    let learned = &all[..20];
    Fit::new(&mut softmax, &mut Slice(learned), &Schedule::default())
        .unwrap()
        .finish()
        .unwrap();
    let rule = Rejection::calibrate(&mut softmax, &mut Slice(learned), 0.9).unwrap();
    let (mut kept, mut right) = (0, 0);
    for (values, label) in learned {
        let predicted = softmax.predict(&features(values)).unwrap();
        if predicted == *label {
            right += 1;
            kept += usize::from(
                rule.predict(&mut softmax, &features(values))
                    .unwrap()
                    .is_some(),
            );
        }
    }
    // Each of the two thresholds may lose a tenth.
    assert!(kept * 10 >= right * 8 && right > 10, "{kept} of {right}");
    let nothing = [ZERO_POINT; D];
    let all_of_it = Rejection::calibrate(&mut softmax, &mut Slice(learned), 1.0).unwrap();
    assert!(all_of_it.confidence <= rule.confidence);
    let strict = Rejection {
        confidence: 0.999,
        margin: 0.999,
    };
    assert_eq!(strict.predict(&mut softmax, &features(&nothing)), Ok(None));

    let (mut head, mut memory) = (HeadMemory::<D, C>::new(), NcmMemory::<D, C>::new());
    let head = LinearHead::new(head.buffers(), &SCRATCH).unwrap();
    let mut ncm = Ncm::new(head, memory.buffers(), None).unwrap();
    names(2).for_each(|n| _ = ncm.add_class(n).unwrap());
    let (near, far) = ([100i8; D], [-100i8; D]);
    let rule = SelfLabel::default();
    assert_eq!(
        rule.label(&mut ncm, &features(&near)),
        Ok(None),
        "no means yet"
    );
    ncm.step(&features(&near), 0, 1.0).unwrap();
    ncm.step(&features(&far), 1, 1.0).unwrap();
    assert_eq!(rule.label(&mut ncm, &features(&[90; D])), Ok(Some(0)));
    assert_eq!(
        rule.label(&mut ncm, &features(&[0; D])),
        Ok(None),
        "half way"
    );
}
