//! The wire through a debug probe: two channels of Real-Time Transfer in the RAM of a core that runs.

use super::wire::{FeedError, Wire};
use crate::board::Board;
use crate::flash::device::Device;
use crate::flash::probe::{ProbeDevice, chain};
use probe_rs::Session;
use probe_rs::rtt::{DownChannel, Error, Rtt, ScanRegion, UpChannel};
use std::time::{Duration, Instant};

/// What a firmware calls its two channels.
const CHANNEL: &str = "tailtune feed";

/// How long a firmware may take from its reset to its block of RTT.
const BOOT: Duration = Duration::from_secs(3);

/// Two channels of a device behind a probe.
pub struct RttWire {
    session: Session,
    up: UpChannel,
    down: DownChannel,
}

/// Lets the core run and finds the channels of its firmware.
///
/// # Errors
/// [`FeedError::NoBlock`], [`FeedError::NoChannel`], [`FeedError::Broken`].
pub fn open(mut device: ProbeDevice, board: &Board) -> Result<RttWire, FeedError> {
    device.resume().map_err(|e| broken(&e))?;
    let mut session = device.into_session();
    let ranges = board.ram.iter().map(|ram| {
        let start = u64::from(ram.address);
        start..start + u64::from(ram.bytes)
    });
    let mut rtt = find(&mut session, &ScanRegion::Ranges(ranges.collect()), board)?;
    let mut up = rtt.up_channels.iter();
    let up = up.position(|channel| channel.name() == Some(CHANNEL));
    let mut down = rtt.down_channels.iter();
    let down = down.position(|channel| channel.name() == Some(CHANNEL));
    let (Some(up), Some(down)) = (up, down) else {
        let names = rtt.up_channels.iter().filter_map(UpChannel::name);
        let found = names.map(|name| format!("{name:?}")).collect::<Vec<_>>();
        return Err(FeedError::NoChannel {
            board: board.name.clone(),
            wanted: CHANNEL,
            found: if found.is_empty() {
                "none".into()
            } else {
                found.join(", ")
            },
        });
    };
    Ok(RttWire {
        session,
        up: rtt.up_channels.swap_remove(up),
        down: rtt.down_channels.swap_remove(down),
    })
}

fn find(session: &mut Session, region: &ScanRegion, board: &Board) -> Result<Rtt, FeedError> {
    let deadline = Instant::now() + BOOT;
    loop {
        let mut core = session.core(0).map_err(|e| broken(&e))?;
        match Rtt::attach_region(&mut core, region) {
            Ok(rtt) => return Ok(rtt),
            Err(Error::Probe(e)) => return Err(broken(&e)),
            // What is left of an earlier block, or one that is being written.
            Err(_) if Instant::now() < deadline => {}
            Err(Error::ControlBlockNotFound | Error::NoControlBlockLocation) => {
                let board = board.name.clone();
                return Err(FeedError::NoBlock { board });
            }
            Err(e) => return Err(broken(&e)),
        }
        drop(core);
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn broken(error: &(dyn std::error::Error + 'static)) -> FeedError {
    let reason = chain(error);
    FeedError::Broken { reason }
}

impl Wire for RttWire {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FeedError> {
        let mut core = self.session.core(0).map_err(|e| broken(&e))?;
        match self.up.read(&mut core, buffer) {
            Err(Error::ReadPointerChanged) => Err(FeedError::Broken {
                reason: "the device was reset, or another program reads its channel".into(),
            }),
            read => read.map_err(|e| broken(&e)),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, FeedError> {
        let mut core = self.session.core(0).map_err(|e| broken(&e))?;
        self.down.write(&mut core, bytes).map_err(|e| broken(&e))
    }
}
