//! Histories of one gateway.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use trunkline_tests::dial::Dial;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait;

use super::{Driver, FANOUT, Faults, Place, USERS, WORDS};

impl Place for Gateway {
    fn dial(&self, _: &mut StdRng) -> (usize, Dial) {
        (0, Self::dial(self))
    }

    fn settle(&mut self) {}
}

impl Driver<Gateway> {
    pub(in crate::model) fn new(seed: u64) -> Self {
        // In half of the histories receipts share records.
        let (delay, longer) = match seed % 2 {
            0 => ("0s", "0s"),
            _ => ("15ms", "40ms"),
        };
        let late_edits = seed.is_multiple_of(5);
        let gateway = Setup::default()
            .patient()
            .flag("shards", 3)
            .flag("edit-window", if late_edits { "1ms" } else { "1d" })
            .flag("fanout-limit", FANOUT)
            .flag("channel-stays", "0s")
            .flag("receipt-fanout", FANOUT + 1)
            .flag("receipt-delay", delay)
            .flag("delivered-delay", longer)
            .flag("search", true)
            .start();
        let mut driver = Self::begin(seed, gateway, late_edits);
        driver.short_lives = seed.is_multiple_of(3);
        driver.bad_disk = seed.is_multiple_of(2);
        driver.ends_erased = seed % 8 == 1;
        driver
    }

    /// Plays a history, and returns the faults that came.
    pub(in crate::model) fn play(mut self, steps: usize) -> Faults {
        for step in 0..steps {
            let device = self.random.random_range(0..self.devices.len());
            match self.random.random_range(0..100) {
                0..8 => self.disconnect(device),
                8..10 => self.kill(device),
                10 if self.bad_disk && self.random.random_bool(0.7) => self.lose_disk(device),
                10 => self.restart(),
                11 if self.bad_disk => self.lose_reads(device),
                11..20 => self.look(device),
                20..26 => self.read_together(),
                _ => self.act(device),
            }
            if step % 3 == 0 {
                (0..self.devices.len()).for_each(|device| self.hear(device));
            }
        }
        for device in 0..self.devices.len() {
            self.hear(device);
            self.look(device);
            self.disconnect(device);
            self.devices[device].since = ("0".into(), 0);
            self.look(device);
        }
        if self.ends_erased {
            let user = USERS.choose(&mut self.random).expect("not empty");
            self.erase(user);
        }
        for device in 0..self.devices.len() {
            self.connect(device);
            for word in WORDS {
                wait::until("the index to have all", || {
                    (self.search(device, word) || self.is_blind).then_some(())
                });
            }
        }
        if self.is_blind {
            self.count("indexes that may lack something");
        }
        std::mem::take(&mut self.faults)
    }
}
