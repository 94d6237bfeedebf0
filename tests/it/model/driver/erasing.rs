//! The erasure of a user at the end of a history: what others read after it.

use trunkline_tests::gateway::Gateway;

use super::Driver;

/// The number of looks of each device after an erasure.
const LOOKS: usize = 8;

impl Driver<Gateway> {
    /// Erases a user, and lets the devices of all others read what is left.
    pub(super) fn erase(&mut self, user: &'static str) {
        (0..self.devices.len()).for_each(|device| self.hear(device));
        self.say(&format!("{user} is erased"));
        crate::erasure::begin(&self.place, user);
        crate::erasure::completed(&self.place, user);
        self.world.erase(user);
        self.devices.retain(|device| device.user != user);
        // The model does not know the order in which others are told.
        self.forget_clients();
        for device in 0..self.devices.len() {
            self.connect_anew(device);
        }
        for device in 0..self.devices.len() {
            (0..LOOKS).for_each(|_| self.look(device));
        }
    }
}
