//! A configuration as the file that it would be read from.

use super::Settings;
use crate::config::units::{ByteSize, Duration, Life};
use crate::config::{AllowedOrigins, Config, auth};

impl Config {
    /// The configuration as a file that resolves to it.
    pub fn to_toml(&self) -> String {
        let time = |time| Some(Duration(time));
        let size = |bytes: usize| Some(ByteSize(bytes as u64));
        let limits = &self.limits;
        let mut settings = Settings {
            listen: Some(self.listen),
            tls_cert: self.tls.as_ref().map(|files| files.cert.clone()),
            tls_key: self.tls.as_ref().map(|files| files.key.clone()),
            control: Some(self.control),
            control_connections: Some(self.control_limits.connections),
            control_timeout: time(self.control_limits.timeout),
            // Without any the file says nothing of it, which comes to the same.
            allowed_origins: AllowedOrigins::shown(&limits.origins),
            data: Some(self.data.clone()),
            shards: Some(self.shards),
            durability: Some(self.durability),
            token_bytes: size(limits.token_bytes),
            token_topics: Some(limits.token_topics),
            max_connections: Some(self.max_connections),
            message_bytes: size(limits.content.message_bytes),
            text_bytes: size(limits.content.text_bytes),
            key_bytes: size(limits.content.key_bytes),
            outbox_bytes: size(limits.outbox_bytes),
            answer_bytes: size(limits.answer_bytes),
            connections_per_address: Some(limits.connections_per_address),
            connections_per_user: Some(limits.connections_per_user),
            max_opening: Some(limits.opening),
            newcomers_per_turn: Some(limits.newcomers_per_turn),
            max_recovering: Some(limits.recovering),
            shard_buffer_bytes: size(limits.shard_buffer_bytes),
            header_bytes: size(limits.header_bytes),
            frame_commands: Some(limits.frame_commands),
            max_pages: Some(limits.pages),
            rate_messages: Some(limits.connection_rates.messages),
            rate_bytes: size(limits.connection_rates.bytes as usize),
            rate_commands: Some(limits.connection_rates.commands),
            user_rate_messages: Some(limits.user_rates.messages),
            user_rate_bytes: size(limits.user_rates.bytes as usize),
            user_rate_commands: Some(limits.user_rates.commands),
            rate_burst: time(limits.rate_burst),
            control_frames: Some(limits.control_frames),
            message_timeout: time(limits.message_timeout),
            handshake_timeout: time(limits.handshake_timeout),
            connect_timeout: time(limits.connect_timeout),
            ping_interval: time(limits.ping_interval),
            pong_timeout: time(limits.pong_timeout),
            write_timeout: time(limits.write_timeout),
            reconnect_rate: Some(limits.reconnect_rate),
            reconnect_delay: time(std::time::Duration::from_millis(limits.reconnect_delay_ms)),
            drain_timeout: time(limits.drain_timeout),
            drain_window: time(limits.drain_window),
            presence_grace: time(self.hub.presence_grace),
            max_watches: Some(limits.watches),
            last_seen_cache: Some(self.hub.last_seen_cache),
            last_seen_interval: time(self.hub.last_seen_interval),
            last_seen_rate: Some(self.hub.last_seen_rate),
            max_subscriptions: Some(limits.subscriptions),
            max_listenings: Some(limits.listenings),
            max_topics: Some(self.hub.topics),
            topic_history: Some(self.hub.topic_history),
            topic_bytes: size(self.hub.topic_bytes),
            topics_bytes: size(self.hub.topics_bytes),
            idempotency_window: time(self.idempotency_window),
            sync_life: Some(Life(self.sync_life)),
            message_life: Some(Life(self.message_life)),
            store_cache: size(self.store_cache),
            segment_bytes: size(self.segment_bytes),
            store_reserve: size(self.store_reserve),
            conversation_cache: Some(self.conversation_cache),
            fanout_limit: Some(self.messaging.fanout_limit),
            receipt_fanout: Some(self.messaging.receipt_fanout),
            receipt_delay: time(self.messaging.receipt_delay),
            delivered_delay: time(self.messaging.delivered_delay),
            group_members: Some(self.messaging.group_members),
            members_add: Some(self.messaging.members_add),
            recall_window: time(self.messaging.recall_window),
            group_cache: Some(self.messaging.group_cache),
            log_format: Some(self.log_format),
            log: Some(self.log.clone()),
            dev_auth: None,
            jwt_key: None,
            jwt_algorithm: None,
            jwks: None,
            jwt_audience: None,
            jwt_issuer: None,
            jwt_leeway: None,
        };
        auth::put(&self.auth, &mut settings);
        // Every field has a TOML form.
        toml::to_string(&settings).unwrap_or_default()
    }
}
