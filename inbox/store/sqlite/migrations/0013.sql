-- Durable state of plugins, per tenant. plugin_state_size counts a plugin's entries for a tenant, which are bounded.
CREATE TABLE plugin_state (
    tenant TEXT NOT NULL REFERENCES organization (id), plugin TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL,
    value BLOB NOT NULL, expires_at REAL, PRIMARY KEY (tenant, plugin, name, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX plugin_state_expires ON plugin_state (expires_at) WHERE expires_at IS NOT NULL;
-- Finds the entries of a plugin that are removed to make room for new ones.
CREATE INDEX plugin_state_first ON plugin_state (tenant, plugin, expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE plugin_state_size (
    tenant TEXT NOT NULL, plugin TEXT NOT NULL, entries INTEGER NOT NULL, PRIMARY KEY (tenant, plugin)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER plugin_state_added AFTER INSERT ON plugin_state BEGIN
    INSERT INTO plugin_state_size (tenant, plugin, entries) VALUES (new.tenant, new.plugin, 1)
    ON CONFLICT DO UPDATE SET entries = entries + 1;
END;
CREATE TRIGGER plugin_state_removed AFTER DELETE ON plugin_state BEGIN
    UPDATE plugin_state_size SET entries = entries - 1 WHERE tenant = old.tenant AND plugin = old.plugin;
    DELETE FROM plugin_state_size WHERE tenant = old.tenant AND plugin = old.plugin AND entries <= 0;
END;
