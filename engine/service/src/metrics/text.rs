//! The text of everything counted, for Prometheus and what reads the same.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;
use trunkline_core::event::RecordKind;
use trunkline_core::metrics::TIME_BUCKETS;
use trunkline_gateway::auth::Reason;
use trunkline_gateway::metrics::{CLOSES, Limit, Throttle, TlsFailure, Work};
use trunkline_proto::ErrorCode;
use trunkline_proto::message::CommandBody;
use trunkline_storage::Reader;

use super::families::{Families, Written, buckets};
use super::process::open_descriptors;
use super::{Counter, Form, Metrics, Process, ShardMetrics, store};

/// Writes the text.
#[derive(Clone)]
pub(crate) struct Exporter {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) store: Reader,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Exporter {
    /// Returns all metrics in one text form.
    pub(crate) fn text(self, form: Form) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // A String grows: writing to it does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        form.of(text)
    }
}

impl Collector for Exporter {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Written {
        let mut families = Families::new(&mut encoder);
        families.info(
            "trunkline_build",
            "The version of the gateway",
            &[("version", env!("CARGO_PKG_VERSION"))],
        )?;
        self.shards(&mut families)?;
        self.sends(&mut families)?;
        self.system_calls(&mut families)?;
        self.tls(&mut families)?;
        self.tokens(&mut families)?;
        self.control(&mut families)?;
        self.admin(&mut families)?;
        self.http(&mut families)?;
        self.back(&mut families)?;
        self.search(&mut families)?;
        self.backups(&mut families)?;
        self.cluster(&mut families)?;
        self.ephemeral(&mut families)?;
        self.log(&mut families)?;
        self.sequencer(&mut families)?;
        store::write(&self.store, self.metrics.free.get(), &mut families)?;
        self.process(&mut families)
    }
}

impl Exporter {
    fn shards(&self, to: &mut Families<'_, '_>) -> Written {
        type Of = fn(&ShardMetrics) -> &Counter;
        let gauges: [(&str, &str, Of); 3] = [
            ("trunkline_connections", "Open TCP connections", |m| {
                &m.connections
            }),
            ("trunkline_sessions", "Connections with a session", |m| {
                &m.sessions
            }),
            ("trunkline_opening", "Connections without a session", |m| {
                &m.opening
            }),
        ];
        for (name, help, of) in gauges {
            to.gauge(name, help, self.metrics.sum(of))?;
        }
        to.gauge(
            "trunkline_held_bytes",
            "Bytes held for connections: unread output and incomplete input",
            self.metrics.held(),
        )?;
        let commands = self.metrics.total(|m| m.commands.sum());
        to.counter("trunkline_commands", "Commands received", commands)?;
        let counters: [(&str, &str, Of); 9] = [
            ("trunkline_accepted", "Connections accepted", |m| {
                &m.accepted
            }),
            (
                "trunkline_refused",
                "Connections turned away for lack of room",
                |m| &m.refused,
            ),
            (
                "trunkline_rejected_handshakes",
                "Requests that were no valid upgrade",
                |m| &m.rejected_handshakes,
            ),
            (
                "trunkline_send_replies",
                "Replies to the command send, also those with duplicate set",
                |m| &m.acks,
            ),
            (
                "trunkline_acks",
                "Replies to the command send (not the command ack): the older name of trunkline_send_replies_total",
                |m| &m.acks,
            ),
            (
                "trunkline_gaps",
                "Slow readers whose pushes were dropped",
                |m| &m.gaps,
            ),
            ("trunkline_pings", "Pings sent to silent clients", |m| {
                &m.pings
            }),
            ("trunkline_received_bytes", "Bytes read from clients", |m| {
                &m.bytes_in
            }),
            ("trunkline_sent_bytes", "Bytes written to clients", |m| {
                &m.bytes_out
            }),
        ];
        for (name, help, of) in counters {
            to.counter(name, help, self.metrics.sum(of))?;
        }
        self.outcomes(to)
    }

    /// Writes the results of what clients asked for, by kind.
    fn outcomes(&self, to: &mut Families<'_, '_>) -> Written {
        let commands = CommandBody::NAMES.iter().copied().chain(["unreadable"]);
        let commands = commands.enumerate();
        let commands = commands.map(|(i, name)| (name, self.metrics.sum(|m| &m.commands[i])));
        to.labelled(
            (
                "trunkline_commands_by_name",
                "Commands received on connections, by their names",
            ),
            "command",
            commands,
        )?;
        let pushes = RecordKind::ALL.into_iter();
        let pushes = pushes.map(|kind| (kind.name(), self.metrics.sum(|m| m.pushed(kind))));
        let pushes = pushes.chain([("passing", self.metrics.sum(|m| &m.pushed_ephemeral))]);
        to.labelled(
            ("trunkline_pushes", "Events pushed to clients"),
            "event",
            pushes,
        )?;
        let errors = ErrorCode::ALL.iter().enumerate();
        let errors = errors.map(|(i, code)| (code.name(), self.metrics.sum(|m| &m.errors[i])));
        to.labelled(("trunkline_errors", "Error replies"), "error", errors)?;
        let limited = Limit::ALL.iter().enumerate();
        let limited = limited.map(|(i, limit)| (limit.name(), self.metrics.sum(|m| &m.limited[i])));
        to.labelled(
            (
                "trunkline_limited",
                "Times that a limit was reached, see docs/limits.md",
            ),
            "limit",
            limited,
        )?;
        let throttled = Throttle::ALL.iter().enumerate();
        let throttled = throttled.map(|(i, of)| (of.name(), self.metrics.sum(|m| &m.throttled[i])));
        to.labelled(
            (
                "trunkline_throttled",
                "Times that a connection had to wait for a budget of cost",
            ),
            "reason",
            throttled,
        )?;
        let work = Work::ALL.iter().enumerate();
        let work = work.map(|(i, work)| (work.name(), self.metrics.sum(|m| &m.work[i])));
        to.times(
            (
                "trunkline_cost",
                "Cost of work for clients, in time of a processor core",
            ),
            "work",
            work,
        )?;
        let names = CLOSES.map(|code| {
            if code == 0 {
                "other".into()
            } else {
                code.to_string()
            }
        });
        let closes = names.iter().enumerate();
        let closes = closes.map(|(i, name)| (&**name, self.metrics.sum(|m| &m.closes[i])));
        to.labelled(
            ("trunkline_closes", "Connections closed by the gateway"),
            "code",
            closes,
        )
    }

    /// Writes the system calls of the shards, except accepting and closing.
    fn system_calls(&self, to: &mut Families<'_, '_>) -> Written {
        let sum = |of: fn(&ShardMetrics) -> &Counter| self.metrics.sum(of);
        to.counter("trunkline_polls", "Waits for events", sum(|m| &m.polls))?;
        to.counter("trunkline_reads", "Reads of sockets", sum(|m| &m.reads))?;
        to.counter("trunkline_writes", "Writes of sockets", sum(|m| &m.writes))?;
        to.counter(
            "trunkline_wakes",
            "Times that a sleeping shard was woken for mail",
            sum(|m| &m.wakes),
        )?;
        to.counter(
            "trunkline_slow_reads",
            "Reads of connections in the slow lane, which spend much while others spend little",
            sum(|m| &m.slow_reads),
        )
    }

    fn tls(&self, to: &mut Families<'_, '_>) -> Written {
        let handshakes = [
            ("full", self.metrics.sum(|m| &m.tls_full)),
            ("resumed", self.metrics.sum(|m| &m.tls_resumed)),
        ];
        to.labelled(
            ("trunkline_tls_handshakes", "TLS hand-shakes completed"),
            "kind",
            handshakes,
        )?;
        let failures = TlsFailure::ALL.iter().enumerate();
        let failures =
            failures.map(|(i, why)| (why.name(), self.metrics.sum(|m| &m.tls_failures[i])));
        to.labelled(
            ("trunkline_tls_failures", "TLS connections that failed"),
            "reason",
            failures,
        )?;
        let tls = &self.metrics.tls;
        let reloads = [
            ("ok", tls.reloaded.get()),
            ("failed", tls.reload_failed.get()),
        ];
        to.labelled(
            ("trunkline_tls_reloads", "Readings of the certificate files"),
            "result",
            reloads,
        )?;
        let acceptor = self.metrics.acceptor.as_ref();
        match acceptor.and_then(|acceptor| acceptor.expires()) {
            Some(expires) => to.gauge(
                "trunkline_tls_certificate_expiry_seconds",
                "When the server's own certificate expires, in seconds since 1970",
                expires,
            ),
            None => Ok(()),
        }
    }

    fn log(&self, to: &mut Families<'_, '_>) -> Written {
        to.counter(
            "trunkline_log_lines_lost",
            "Lines of the log that standard error did not take",
            crate::log::lost(),
        )?;
        let config = &self.metrics.config;
        to.labelled(
            (
                "trunkline_config_reloads",
                "Readings of the configuration file while the gateway runs",
            ),
            "result",
            [
                ("ok", config.reloaded.get()),
                ("failed", config.reload_failed.get()),
            ],
        )
    }

    fn tokens(&self, to: &mut Families<'_, '_>) -> Written {
        to.counter(
            "trunkline_tokens",
            "Tokens that opened or renewed a session",
            self.metrics.sum(|m| &m.tokens.accepted),
        )?;
        let refused = Reason::ALL.iter().enumerate();
        let refused =
            refused.map(|(i, why)| (why.name(), self.metrics.sum(|m| &m.tokens.refused[i])));
        to.labelled(
            ("trunkline_token_failures", "Tokens that were refused"),
            "reason",
            refused,
        )?;
        let keys = &self.metrics.keys;
        let reloads = [
            ("ok", keys.reloaded.get()),
            ("failed", keys.reload_failed.get()),
        ];
        to.labelled(
            (
                "trunkline_token_key_reloads",
                "Readings of the tokens' keys",
            ),
            "result",
            reloads,
        )
    }

    fn control(&self, to: &mut Families<'_, '_>) -> Written {
        let control = &self.metrics.control;
        let reasons = [
            ("connections", control.crowded.get()),
            ("time", control.late.get()),
            ("origin", control.refused.get()),
        ];
        to.labelled(
            (
                "trunkline_control_refused",
                "Connections and requests that the control port refused",
            ),
            "reason",
            reasons,
        )
    }

    fn backups(&self, to: &mut Families<'_, '_>) -> Written {
        let backups = &self.metrics.backups;
        to.labelled(
            ("trunkline_backups", "Backups of the store"),
            "result",
            [
                ("ok", backups.complete.get()),
                ("failed", backups.failed.get()),
            ],
        )?;
        to.gauge(
            "trunkline_backup_running",
            "1 while a backup of the store is being made",
            backups.running.get(),
        )?;
        to.gauge(
            "trunkline_backup_last_timestamp_seconds",
            "Time of the last complete backup, in seconds since 1970; 0 if there is none",
            backups.last_complete.get(),
        )
    }

    fn sequencer(&self, to: &mut Families<'_, '_>) -> Written {
        let m = &self.metrics.sequencer;
        to.counter("trunkline_messages", "Messages stored", m.messages.get())?;
        to.counter("trunkline_receipts", "Receipts stored", m.receipts.get())?;
        to.counter(
            "trunkline_receipt_marks",
            "Members whose marks the stored receipts moved",
            m.receipt_marks.get(),
        )?;
        to.counter(
            "trunkline_receipt_acks",
            "Acknowledgements that became stored receipts",
            m.receipt_acks.get(),
        )?;
        to.gauge(
            "trunkline_receipt_acks_held",
            "Acknowledgements that wait to become receipts",
            m.receipts_held.get(),
        )?;
        to.counter(
            "trunkline_duplicates",
            "Sends whose key was known, not stored again",
            m.duplicates.get(),
        )?;
        to.gauge(
            "trunkline_commands_waiting",
            "Commands that wait for the turn of their user",
            m.waiting.get(),
        )?;
        to.gauge(
            "trunkline_commands_waiting_bytes",
            "Bytes of the commands that wait for the sequencer",
            m.waiting_bytes.load(std::sync::atomic::Ordering::Relaxed) as u64,
        )?;
        to.counter(
            "trunkline_commands_in_turns",
            "Commands that waited for the turn of their user",
            m.turns.get(),
        )?;
        to.counter(
            "trunkline_failed_commands",
            "Commands that could not be stored",
            m.failed.get(),
        )?;
        to.counter(
            "trunkline_last_seen_stored",
            "Users stored with the time they were last seen",
            m.last_seen.get(),
        )?;
        to.counter(
            "trunkline_expired_unreadable",
            "Expired messages whose content stays on the disk, because they cannot be read",
            m.expired_unreadable.get(),
        )?;
        to.counter(
            "trunkline_clock_leaps",
            "Leaps of the system clock by more than two seconds",
            m.clock_leaps.get(),
        )?;
        to.gauge(
            "trunkline_clock_behind_seconds",
            "Seconds by which the time of expiry is behind the system clock",
            m.clock_behind.get(),
        )?;
        to.counter(
            "trunkline_mailbox_waits",
            "Times that the sequencer waited for a full mailbox of a shard",
            m.mailbox_waits.get(),
        )?;
        to.gauge(
            "trunkline_conversations",
            "Conversations in memory",
            m.conversations.get(),
        )
    }

    /// Writes the times from a command `send` to its reply.
    fn sends(&self, to: &mut Families<'_, '_>) -> Written {
        let mut counts = [0; TIME_BUCKETS];
        let mut micros = 0;
        for shard in &self.metrics.shards {
            let each = shard.sends.counts();
            counts.iter_mut().zip(each).for_each(|(sum, n)| *sum += n);
            micros += shard.sends.sum();
        }
        to.histogram(
            "trunkline_send_reply_seconds",
            "Time from reading a command send to the reply that the message is stored",
            &buckets(&counts, |power| power / 1e6),
            micros as f64 / 1e6,
        )
    }

    /// Writes the kernel's figures about this process.
    fn process(&self, to: &mut Families<'_, '_>) -> Written {
        let process = Process::read();
        to.seconds(
            "process_cpu_seconds",
            "User and system CPU time",
            process.cpu_seconds,
        )?;
        to.gauge(
            "process_resident_memory_bytes",
            "Resident memory",
            process.resident_bytes,
        )?;
        to.gauge(
            "process_start_time_seconds",
            "When the gateway started, in seconds since 1970",
            self.metrics.started,
        )?;
        to.gauge(
            "process_open_fds",
            "Open descriptors, in all descriptor tables",
            open_descriptors(self.metrics.descriptors.private),
        )?;
        to.gauge(
            "process_max_fds",
            "The most open descriptors, in all descriptor tables",
            self.metrics.descriptors.most(),
        )
    }
}
