-- Who receives mail for postmaster@ of the domain.
ALTER TABLE has_domain ADD COLUMN postmaster TEXT;
-- A tenant's accounts and addresses, and what leads to an address, are found without reading those of all tenants.
CREATE INDEX account_organization ON account (organization);
CREATE INDEX email_address_organization ON email_address (organization, domain);
CREATE INDEX has_alias_out ON has_alias ("out");
