//! Any bytes on the line of `tailtune feed`, in pieces of any length: no panic, what a frame says can be used,
//! and a frame of the line's own comes through after them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailtune_app::feed::frame::{MAX_FRAME, Receiver};
use tailtune_app::feed::message::{Reply, Request};

fn put(receiver: &mut Receiver, bytes: &[u8], step: usize, hellos: &mut u32) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = receiver.room();
        assert!(!room.is_empty());
        let n = step.min(room.len()).min(rest.len());
        room[..n].copy_from_slice(&rest[..n]);
        receiver.filled(n);
        rest = &rest[n..];
        while let Some(frame) = receiver.next() {
            if let Some(request) = Request::parse(&frame) {
                let mut again = [0; MAX_FRAME];
                assert!(request.emit(frame.sequence, &mut again).is_some());
                *hellos += u32::from(request == Request::Hello);
            }
            if let Some(Reply::Answer(answer)) = Reply::parse(&frame) {
                assert!(answer.own.len() + answer.tail.len() <= MAX_FRAME);
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let (step, data) = data
        .split_first()
        .map_or((1, data), |(n, rest)| (usize::from(*n) + 1, rest));
    let (mut receiver, mut hellos) = (Receiver::new(), 0);
    put(&mut receiver, data, step, &mut hellos);
    let before = hellos;
    let mut hello = [0; MAX_FRAME];
    let n = Request::Hello.emit(1, &mut hello).unwrap();
    put(&mut receiver, &hello[..n], step, &mut hellos);
    // What came before may have begun a frame as long as they get.
    put(&mut receiver, &[0; MAX_FRAME], step, &mut hellos);
    assert_eq!(hellos, before + 1);
});
