package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const lookupTimeout = 5 * time.Second

// welcome tells what runs where, and one thing to try.
func (d *dev) welcome(ctx context.Context, services []service, db *database) string {
	var b strings.Builder
	b.WriteString("\nDawsOS is running. Ctrl-C stops it.\n\n")
	var api string
	for _, s := range services {
		if s.name == "api" {
			api = s.url
			fmt.Fprintf(&b, "  API              %s\n  console          %s/console\n  documentation    %s/docs\n", s.url, s.url, s.url)
		}
	}
	for _, s := range services {
		fmt.Fprintf(&b, "  %-16s %s/metrics\n", s.name+"'s metrics", s.url)
	}
	b.WriteString("\n")
	if db.private != nil {
		// On a line of its own and complete, for psql "$DATABASE_URL".
		fmt.Fprintf(&b, "DATABASE_URL=%s\n", db.url)
	} else {
		fmt.Fprintf(&b, "The database is that of DATABASE_URL, %s\n", redacted(db.url))
	}
	if d.keys.developer != "" {
		// What callers show, and what one signs in at the console with.
		fmt.Fprintf(&b, "DAWSOS_KEY=%s\n", d.keys.developer)
	}
	if api != "" {
		fmt.Fprintf(&b, "\nTry, with DAWSOS_KEY set as above:\n\n  %s\n", try(ctx, api, d.keys.developer))
	}
	b.WriteString("\n")
	return b.String()
}

// try returns a command for the first portfolio that there is, else one that works without.
func try(ctx context.Context, api, key string) string {
	id, err := firstPortfolio(ctx, api, key)
	if err != nil || id == "" {
		return "curl -s " + api + `/v1/patterns -H "Authorization: Bearer $DAWSOS_KEY"`
	}
	return fmt.Sprintf(`curl -s %s/v1/patterns/portfolio_overview/execute -H "Authorization: Bearer $DAWSOS_KEY" -H 'content-type: application/json' -d '{"inputs":{"portfolio_id":"%s"}}'`, api, id)
}

func firstPortfolio(ctx context.Context, api, key string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, api+"/v1/portfolios?limit=1", http.NoBody)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var page struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	if err := json.NewDecoder(response.Body).Decode(&page); err != nil {
		return "", fmt.Errorf("read the portfolios (%s): %w", response.Status, err)
	}
	if len(page.Items) == 0 {
		return "", nil
	}
	return page.Items[0].ID, nil
}
