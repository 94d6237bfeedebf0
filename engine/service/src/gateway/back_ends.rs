//! The threads of back ends: one that asks and tells them, and one that knows what to tell.

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use trunkline_core::ids::Ids;
use trunkline_core::reader::MissedMessages;
use trunkline_http::back::{Back, HooksParts, Longest, Secret, Webhooks};

use crate::config::Config;
use crate::http::Serving;
use crate::nodes::AmongNodes;
use crate::threads::{join, let_shards_go_first, spawn};

/// The running webhooks.
pub(super) struct Telling {
    webhooks: Webhooks,
    thread: JoinHandle<()>,
}

/// Starts the thread that speaks to back ends; `None` if none is asked about anything or told of anything.
pub(super) fn start(config: &Config) -> anyhow::Result<Option<Back>> {
    let Some(file) = config
        .callbacks_secret
        .as_ref()
        .filter(|_| config.has_back_ends())
    else {
        return Ok(None);
    };
    let secret = Secret::load(file).map_err(anyhow::Error::msg)?;
    let content = &config.limits.content;
    let most = Longest {
        message: content.message_bytes,
        text: content.text_bytes,
    };
    let trust = { config.callbacks.trust(&config.webhooks) }.map_err(anyhow::Error::msg)?;
    let back = Back::start(
        &config.callbacks,
        secret,
        trust,
        (most, let_shards_go_first),
    );
    Ok(Some(
        back.context("cannot start the thread of the back ends")?,
    ))
}

/// Starts the thread of the webhooks; `None` if no back end is told of anything. Call this before clients
/// can send: it notes where the log ends.
pub(super) fn tell(
    serving: &Serving<'_>,
    among: Option<&AmongNodes>,
) -> anyhow::Result<Option<Telling>> {
    let (config, hooks) = (serving.config, &serving.config.webhooks);
    hooks.forget_others(&config.data);
    let Some(back) = serving.back else {
        return Ok(None);
    };
    let missed = MissedMessages::new(
        serving.store,
        Arc::clone(serving.hub),
        hooks.largest_group,
        config.limits.content.message_bytes,
    );
    let parts = HooksParts {
        missed,
        ids: Ids(serving.store.key()),
        hub: Arc::clone(serving.hub),
        folder: config.data.clone(),
        cluster: among.map(|among| among.hooks()),
    };
    let Some((webhooks, worker)) = back.webhooks(hooks, parts)? else {
        return Ok(None);
    };
    let thread = spawn("webhooks", move || {
        let_shards_go_first();
        worker.run();
    })?;
    Ok(Some(Telling { webhooks, thread }))
}

impl Telling {
    /// Writes what waits to the disk, and ends the thread.
    ///
    /// # Errors
    /// The thread panicked.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.webhooks.stop();
        join(self.thread)
    }
}
