-- Prices come by the million, and a foreign key is looked up a row: of an import of a million prices its
-- two keys took two thirds of the time. The same is checked here once a statement.

-- +goose Up
SET LOCAL lock_timeout = '5s';

ALTER TABLE prices DROP CONSTRAINT prices_security_id_fkey, DROP CONSTRAINT prices_tenant_id_revision_fkey;

-- What is written names few of either; a plan without statistics would compare each row with all.
-- +goose StatementBegin
CREATE FUNCTION prices_refer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (SELECT DISTINCT tenant_id, security_id FROM written) AS w
        WHERE NOT EXISTS (SELECT FROM securities AS s WHERE s.id = w.security_id AND s.tenant_id = w.tenant_id)
    ) THEN
        RAISE foreign_key_violation USING MESSAGE = 'prices are of securities that the tenant does not have';
    ELSIF EXISTS (
        SELECT FROM (SELECT DISTINCT tenant_id, revision FROM written) AS w
        WHERE NOT EXISTS (SELECT FROM data_revisions AS r WHERE r.tenant_id = w.tenant_id AND r.revision = w.revision)
    ) THEN
        RAISE foreign_key_violation USING MESSAGE = 'prices are of revisions that the tenant does not have';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION prices_of_security() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM prices WHERE security_id = OLD.id) THEN
        RAISE foreign_key_violation USING MESSAGE = 'there are prices of the security';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION prices_of_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM prices WHERE tenant_id = OLD.tenant_id AND revision = OLD.revision) THEN
        RAISE foreign_key_violation USING MESSAGE = 'there are prices of the revision';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER prices_insert AFTER INSERT ON prices
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION prices_refer();
CREATE TRIGGER prices_update AFTER UPDATE ON prices
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION prices_refer();
-- Securities and revisions are not taken away from under their prices.
CREATE TRIGGER prices_of_security AFTER DELETE OR UPDATE OF id, tenant_id ON securities
    FOR EACH ROW EXECUTE FUNCTION prices_of_security();
CREATE TRIGGER prices_of_revision AFTER DELETE OR UPDATE OF tenant_id, revision ON data_revisions
    FOR EACH ROW EXECUTE FUNCTION prices_of_revision();

-- +goose Down
DROP TRIGGER prices_of_revision ON data_revisions;
DROP TRIGGER prices_of_security ON securities;
DROP TRIGGER prices_update ON prices;
DROP TRIGGER prices_insert ON prices;
DROP FUNCTION prices_refer, prices_of_security, prices_of_revision;
ALTER TABLE prices
    ADD CONSTRAINT prices_security_id_fkey FOREIGN KEY (security_id) REFERENCES securities (id),
    ADD CONSTRAINT prices_tenant_id_revision_fkey FOREIGN KEY (tenant_id, revision) REFERENCES data_revisions (tenant_id, revision);
