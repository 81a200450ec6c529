// Package auth knows who calls and what a caller may do.
//
// A caller presents an API key or a signed token and becomes a [Principal]: a tenant, a role and, for
// a person, a user. It travels in the request's context from there on. What a role may do is no table
// of this package: each operation of the OpenAPI document lists its roles (x-roles), the console's
// routes name theirs, and the server lets nobody else in. Which rows it may see is decided once more by
// the database, whose row level security reads the same principal.
package auth

import (
	"context"
	"slices"
	"time"
)

// Role is what a caller is trusted with.
type Role string

// The closed set of roles, the mightiest first.
const (
	Admin    Role = "admin"     // all of the tenant, keys included
	Operator Role = "operator"  // runs the system: dead letters, destinations, jobs, data
	Analyst  Role = "analyst"   // works with it: patterns, portfolios, rules, the inbox
	Service  Role = "service"   // a program: runs patterns, sends and imports
	ReadOnly Role = "read-only" // looks
)

// Roles are all roles, the mightiest first.
var Roles = []Role{Admin, Operator, Analyst, Service, ReadOnly}

// Known reports whether r is one of [Roles].
func (r Role) Known() bool { return slices.Contains(Roles, r) }

// Scopes are the parts of the API that a key may be for: those that its operations name (x-scope).
var Scopes = []string{
	"access:read",
	"access:write",
	"agents:read",
	"alerts:read",
	"alerts:write",
	"dead-letters:read",
	"dead-letters:write",
	"deliveries:read",
	"deliveries:write",
	"destinations:read",
	"destinations:write",
	"imports:write",
	"notifications:read",
	"notifications:write",
	"operations:read",
	"operations:write",
	"patterns:read",
	"patterns:write",
	"portfolios:read",
	"portfolios:write",
	"pricing-packs:read",
	"pricing-packs:write",
	"receivers:write",
	"runs:read",
	"runs:write",
}

// OperatingTenant is the tenant that the system's operators belong to. What is nobody's alone, such as
// periodic jobs and the queue, is theirs.
const OperatingTenant = "default"

// Principal is a caller that is known.
type Principal struct {
	TenantID string // whose rows it may see
	// Subject says who it is in logs and in the audit trail: "key:" and the key's id, or "user:" and the
	// token's subject. It is "" for a caller that showed nothing and may come in all the same, which
	// development alone allows.
	Subject string
	// UserID is the person, as rows name it; "" for a program.
	UserID string
	Role   Role
	// Scopes are the parts of the API that a key is for, such as "deliveries:write"; nil for all that
	// its role may.
	Scopes []string
	KeyID  string // "" when it came without a key
	// Expires is when what it showed ends; zero for never.
	Expires time.Time
}

// Personal returns the user whose rows alone the principal may see among those that are a person's, and
// "" when it may see the whole tenant's: operators and admins look after everybody's, and programs act
// for everybody.
func (p Principal) Personal() string {
	if p.Role == Analyst || p.Role == ReadOnly {
		return p.UserID
	}
	return ""
}

// Operates reports whether the principal runs the system itself, beyond its tenant.
func (p Principal) Operates() bool {
	return p.TenantID == OperatingTenant && (p.Role == Admin || p.Role == Operator)
}

// May reports whether the principal is let in where roles are, to the part of the API that scope names.
func (p Principal) May(roles []Role, scope string) bool {
	return slices.Contains(roles, p.Role) && (p.Scopes == nil || slices.Contains(p.Scopes, scope))
}

// MayGrant reports whether the principal may make a key for scopes, or have one made again: a key for parts
// of the API makes no key for more. nil stands for all.
func (p Principal) MayGrant(scopes []string) bool {
	if p.Scopes == nil {
		return true
	}
	return scopes != nil && !slices.ContainsFunc(scopes, func(s string) bool { return !slices.Contains(p.Scopes, s) })
}

// System is who works for a tenant when nobody asked: what goes on behind a request, or by the clock.
func System(tenantID string) Principal {
	return Principal{TenantID: tenantID, Subject: "system", Role: Admin}
}

type contextKey struct{}

// With returns a context in which p calls.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// From returns who calls; false when nobody does.
func From(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(contextKey{}).(Principal)
	return p, ok
}

// Tenant returns the tenant of who calls, "" when nobody does: no row is of that tenant.
func Tenant(ctx context.Context) string {
	p, _ := From(ctx)
	return p.TenantID
}
