-- The recipient of mail for postmaster@ of the domain.
ALTER TABLE has_domain ADD COLUMN postmaster TEXT;
-- Find a tenant's accounts and addresses, and the aliases that point to an address, without reading all tenants' rows.
CREATE INDEX account_organization ON account (organization);
CREATE INDEX email_address_organization ON email_address (organization, domain);
CREATE INDEX has_alias_out ON has_alias ("out");
