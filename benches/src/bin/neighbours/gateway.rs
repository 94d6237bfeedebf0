//! The gateway of a measurement, in a process of its own.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use trunkline_benches::peer::{Build, Peer};
use trunkline_benches::tokens::Signer;

use crate::Args;

/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(50);

/// Bytes of a mebibyte.
const MIB: f64 = 1_048_576.0;

/// A gateway with an empty store, and the key of its tokens.
pub(crate) struct Gateway {
    pub(crate) peer: Peer,
    pub(crate) signer: Option<Signer>,
    _folder: TempDir,
}

impl Gateway {
    /// Starts a gateway as the command line says.
    ///
    /// # Errors
    /// The gateway does not start.
    pub(crate) fn start(args: &Args) -> anyhow::Result<Self> {
        let folder = match &args.dir {
            Some(dir) => tempfile::tempdir_in(dir)?,
            None => tempfile::tempdir()?,
        };
        let data = folder.path().join("data");
        let secret = folder.path().join("secret");
        let signer = args.tokens.then(|| Signer::new(&secret)).transpose()?;
        let build = Build {
            program: args.gateway.as_deref(),
            secret: args.tokens.then_some(&secret),
        };
        let peer = Peer::gateway_of(build, &data, args.shards)?;
        Ok(Self {
            peer,
            signer,
            _folder: folder,
        })
    }

    /// Returns the resident memory in MiB; 0 once the gateway is gone.
    pub(crate) fn memory(&self) -> f64 {
        self.peer.resident().unwrap_or_default() as f64 / MIB
    }

    /// Returns the memory in MiB that the store's index of the log takes; 0 once the gateway is gone.
    pub(crate) fn index(&self) -> f64 {
        let index = self.peer.metric("trunkline_store_index_bytes");
        index.unwrap_or_default() / MIB
    }

    /// Waits until `is_met` or for at most `limit`, and returns the most memory meanwhile, in MiB.
    pub(crate) fn watch(&self, limit: Duration, mut is_met: impl FnMut() -> bool) -> f64 {
        let start = Instant::now();
        let mut peak = self.memory();
        while start.elapsed() < limit && !is_met() {
            std::thread::sleep(LOOK.min(limit.saturating_sub(start.elapsed())));
            peak = peak.max(self.memory());
        }
        peak
    }
}
