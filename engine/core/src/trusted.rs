//! The trusted proxies of a running gateway, which an operator may change.

use std::sync::Arc;

use parking_lot::RwLock;
use trunkline_proto::proxy::Proxies;

/// The trusted proxies. Clones share them: what one sets, all have.
#[derive(Debug, Clone, Default)]
pub struct Trusted(Arc<RwLock<Arc<Proxies>>>);

impl From<Proxies> for Trusted {
    fn from(proxies: Proxies) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(proxies))))
    }
}

impl Trusted {
    /// Returns the proxies that are trusted now.
    pub fn now(&self) -> Arc<Proxies> {
        Arc::clone(&self.0.read())
    }

    /// Trusts other proxies from now on.
    pub fn set(&self, proxies: Arc<Proxies>) {
        *self.0.write() = proxies;
    }
}
