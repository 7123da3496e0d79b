//! UART of nRF51 and UARTE of nRF52: both register sets at one address. Bytes take no time, and
//! what the host has to send waits until the chip receives.

use crate::chip::Bus;

/// Events: their register offsets, and by position their bit in INTEN.
const CTS: u32 = 1 << 0;
const RXDRDY: u32 = 1 << 2;
const ENDRX: u32 = 1 << 4;
const TXDRDY: u32 = 1 << 7;
const ENDTX: u32 = 1 << 8;
const RXTO: u32 = 1 << 17;
const RXSTARTED: u32 = 1 << 19;
const TXSTARTED: u32 = 1 << 20;
const TXSTOPPED: u32 = 1 << 22;

/// The registers.
#[derive(Default)]
pub struct Uarte {
    enable: u32,
    events: u32,
    inten: u32,
    shorts: u32,
    receiving: bool,
    rx: Dma,
    tx: Dma,
    rxd: u32,
    unread: bool,
    config: std::collections::BTreeMap<u32, u32>,
}

#[derive(Default)]
struct Dma {
    ptr: u32,
    max: u32,
    amount: u32,
}

impl Uarte {
    /// The bit of an event register: EVENTS_x lies at 0x100 + 4 · bit.
    fn event(offset: u32) -> Option<u32> {
        (0x100..0x160)
            .contains(&offset)
            .then(|| 1 << ((offset - 0x100) / 4))
    }

    /// Takes bytes from the host's line while the chip receives.
    fn poll(&mut self, bus: &mut Bus) {
        if !self.receiving {
            return;
        }
        if self.enable == 4 {
            // The next byte moves up when this one is read.
            if !self.unread
                && let Some(byte) = bus.uart.receive()
            {
                (self.rxd, self.unread) = (u32::from(byte), true);
                self.events |= RXDRDY;
            }
            return;
        }
        while self.rx.amount < self.rx.max && bus.uart.waiting() > 0 {
            let byte = bus.uart.receive().unwrap_or(0);
            bus.map
                .write_ram(self.rx.ptr.wrapping_add(self.rx.amount), &[byte]);
            self.rx.amount += 1;
            self.events |= RXDRDY;
        }
        if self.rx.amount == self.rx.max && self.events & ENDRX == 0 {
            self.events |= ENDRX;
            self.receiving = self.shorts & 1 << 5 != 0;
            self.rx.amount = if self.receiving { 0 } else { self.rx.amount };
        }
    }

    /// The interrupt line.
    pub fn line(&mut self, bus: &mut Bus) -> bool {
        self.poll(bus);
        self.events & self.inten != 0
    }

    /// Reads a register.
    pub fn read(&mut self, offset: u32, bus: &mut Bus) -> Option<u32> {
        self.poll(bus);
        if let Some(bit) = Self::event(offset) {
            return Some(u32::from(self.events & bit != 0));
        }
        Some(match offset {
            0x200 => self.shorts,
            0x300..=0x308 => self.inten,
            0x500 => self.enable,
            0x518 => {
                self.unread = false;
                self.rxd
            }
            0x534 => self.rx.ptr,
            0x538 => self.rx.max,
            0x53c => self.rx.amount,
            0x544 => self.tx.ptr,
            0x548 => self.tx.max,
            0x54c => self.tx.amount,
            _ => self.config.get(&offset).copied().unwrap_or(0),
        })
    }

    /// Writes a register.
    pub fn write(&mut self, offset: u32, value: u32, bus: &mut Bus) -> bool {
        let task = value & 1 != 0;
        if let Some(bit) = Self::event(offset) {
            self.events &= !bit;
            if value & 1 != 0 {
                self.events |= bit;
            }
            return true;
        }
        match offset {
            0x000 if task => {
                self.receiving = true;
                self.rx.amount = 0;
                self.events |= RXSTARTED | CTS;
            }
            0x004 if task => {
                if self.receiving && self.enable == 8 {
                    self.events |= ENDRX;
                }
                self.receiving = false;
                self.events |= RXTO;
            }
            0x008 if task => self.start_tx(bus),
            0x00c if task => self.events |= TXSTOPPED,
            0x200 => self.shorts = value,
            0x300 => self.inten = value,
            0x304 => self.inten |= value,
            0x308 => self.inten &= !value,
            0x500 => self.enable = value,
            0x51c if self.enable == 4 => {
                bus.uart.send(&[value as u8]);
                self.events |= TXDRDY;
            }
            0x534 => self.rx.ptr = value,
            0x538 => self.rx.max = value,
            0x544 => self.tx.ptr = value,
            0x548 => self.tx.max = value,
            _ => {
                self.config.insert(offset, value);
            }
        }
        true
    }

    fn start_tx(&mut self, bus: &mut Bus) {
        self.events |= TXSTARTED;
        if self.enable != 8 {
            return;
        }
        // EasyDMA reads RAM only.
        let mut bytes = vec![0; self.tx.max as usize & 0xffff];
        if self.tx.ptr >= 0x2000_0000 && bus.map.read(self.tx.ptr, &mut bytes) {
            bus.uart.send(&bytes);
        }
        self.tx.amount = self.tx.max;
        self.events |= ENDTX | TXDRDY;
    }
}
