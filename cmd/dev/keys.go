package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dawsos/dawsos/internal/auth"
	"github.com/dawsos/dawsos/internal/config"
	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/internal/store"
)

// keys are API keys that are made once and kept beside the other secrets.
type keys struct {
	developer string // an admin's, to try things with
	worker    string // the worker's
}

// keepKeys makes sure that the kept keys open the database's API. In production nothing is made: an admin
// key that lies in a folder is for one's own machine.
func (d *dev) keepKeys(ctx context.Context, databaseURL string) error {
	if d.cfg.Environment == config.Production || d.cfg.AuthAnonymous != "" {
		return nil
	}
	pool, err := pgxpool.New(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer pool.Close()
	db := store.New(pool, store.Options{})
	for _, k := range []struct {
		setting, name string
		role          auth.Role
		text          *string
	}{
		{"DAWSOS_KEY", "development, made by cmd/dev", auth.Admin, &d.keys.developer},
		{"API_KEY", "the worker's, made by cmd/dev", auth.Service, &d.keys.worker},
	} {
		if *k.text, err = d.keepKey(ctx, db, k.setting, auth.Key{Name: k.name, Role: k.role}); err != nil {
			return err
		}
	}
	return nil
}

// keepKey returns the kept key of a setting. One that was revoked, or whose time is over, opens nothing any more and
// is replaced; one that the database does not know, which may be a new one, is added to it.
func (d *dev) keepKey(ctx context.Context, db *store.Store, setting string, k auth.Key) (text string, err error) {
	file := filepath.Join(d.state, secretsFile)
	create := func() string {
		text, _, _ := auth.NewKey()
		return text
	}
	if text, err = kept(file, setting, "", create); err != nil {
		return "", err
	}
	for {
		id, ok := auth.KeyID(text)
		if !ok {
			return "", fmt.Errorf("%s of %s is no API key: delete the line, and a new one is made", setting, file)
		}
		found, err := db.UseKey(ctx, id, auth.HashKey(text))
		if fault.CodeOf(err) == fault.NotFound {
			k.ID, k.TenantID, k.CreatedAt, k.CreatedBy = id, auth.OperatingTenant, time.Now().UTC(), "cmd/dev"
			if err := db.AddKey(ctx, k, auth.HashKey(text), ""); err != nil {
				// Another start, with the same text, may have been faster.
				if _, used := db.UseKey(ctx, id, auth.HashKey(text)); used != nil {
					return "", err
				}
			}
			return text, nil
		}
		if err != nil {
			return "", fmt.Errorf("find the API key of %s: %w", setting, err)
		}
		state := found.State(time.Now())
		if state == auth.Active {
			return text, nil
		}
		if text, err = kept(file, setting, text, create); err != nil {
			return "", err
		}
		d.out.say("%s, the API key %s, is %s: made a new one", setting, id, state)
	}
}
