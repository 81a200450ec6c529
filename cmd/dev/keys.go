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
		text, err := kept(filepath.Join(d.state, secretsFile), k.setting, func() string {
			text, _, _ := auth.NewKey()
			return text
		})
		if err != nil {
			return err
		}
		id, ok := auth.KeyID(text)
		if !ok {
			return fmt.Errorf("%s of %s is no API key: delete the line, and a new one is made", k.setting, filepath.Join(d.state, secretsFile))
		}
		if _, err := db.UseKey(ctx, id, auth.HashKey(text)); err == nil {
			*k.text = text
			continue
		} else if fault.CodeOf(err) != fault.NotFound {
			return fmt.Errorf("find the API key of %s: %w", k.setting, err)
		}
		err = db.AddKey(ctx, auth.Key{
			ID: id, TenantID: auth.OperatingTenant, Name: k.name, Role: k.role, CreatedAt: time.Now().UTC(), CreatedBy: "cmd/dev",
		}, auth.HashKey(text), "")
		if err != nil {
			return err
		}
		*k.text = text
	}
	return nil
}
