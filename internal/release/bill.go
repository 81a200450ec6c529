package release

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

// withOwnParts are modules that bring along pages made of npm packages which they don't name. A bill that
// was said to be complete would be wrong about them.
var withOwnParts = []string{"github.com/swaggo/files/v2", "riverqueue.com/riverui"}

// bill is the program's bill of materials, CycloneDX 1.6 in JSON: the Go modules that its build information
// names, the standard library, and the packages of npm whose files it holds.
func (p program) bill(o Options, platform Platform) ([]byte, error) {
	hash := sum(p.content)
	main := cdx.Component{
		Type: cdx.ComponentTypeApplication, Name: "dawsos-" + p.name, Version: o.Version,
		PackageURL: "pkg:golang/" + Module + "@v" + o.Version + "?goarch=" + platform.Arch + "&goos=" + platform.OS + "#cmd/" + p.name,
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hash}},
		Licenses:   licences("Apache-2.0"),
		Properties: &[]cdx.Property{
			{Name: "dawsos:commit", Value: o.Commit},
			{Name: "dawsos:compiler", Value: p.info.GoVersion},
			{Name: "dawsos:platform", Value: platform.String()},
		},
	}
	main.BOMRef = main.PackageURL
	var (
		components []cdx.Component
		refs       []string
		incomplete []cdx.BOMReference
	)
	add := func(c cdx.Component) {
		c.BOMRef, c.Type, c.Scope = c.PackageURL, cdx.ComponentTypeLibrary, cdx.ScopeRequired
		components, refs = append(components, c), append(refs, c.BOMRef)
	}
	for _, m := range p.modules {
		c := cdx.Component{Name: m.path, Version: m.version, PackageURL: moduleURL(m), Licenses: licences(m.licence)}
		if m.sum != "" {
			hash, err := moduleHash(m.sum)
			if err != nil {
				return nil, fmt.Errorf("sum of %s: %w", m.path, err)
			}
			c.Hashes = &[]cdx.Hash{hash}
		}
		add(c)
		for _, own := range withOwnParts {
			if m.path == own {
				incomplete = append(incomplete, cdx.BOMReference(c.PackageURL))
			}
		}
	}
	for _, n := range p.packages {
		c := cdx.Component{
			Name: n.name, Version: n.version, PackageURL: "pkg:npm/" + n.name + "@" + n.version, Licenses: licences(n.licence),
		}
		hash, err := npmHash(n.integrity)
		if err != nil {
			return nil, fmt.Errorf("sum of %s: %w", n.name, err)
		}
		c.Hashes = &[]cdx.Hash{hash}
		if n.file != "" {
			c.Components = &[]cdx.Component{{
				BOMRef: c.PackageURL + "#" + n.file, Type: cdx.ComponentTypeFile, Name: "internal/console/npm/" + n.file,
				Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: n.sum}},
			}}
		}
		add(c)
	}
	if p.swaggerUI != "" {
		add(cdx.Component{
			Name: "swagger-ui-dist", Version: p.swaggerUI, PackageURL: "pkg:npm/swagger-ui-dist@" + p.swaggerUI,
			Licenses: licences("Apache-2.0"), Description: "within github.com/swaggo/files/v2; its version as the file in the program says",
		})
	}
	bom := cdx.NewBOM()
	// Of the program's bytes: the same program has the same bill.
	bom.SerialNumber = "urn:uuid:" + uuid.NewSHA1(uuid.NameSpaceURL, []byte(Module+"#"+hash)).String()
	bom.Metadata = &cdx.Metadata{
		Timestamp: o.Time.UTC().Format(time.RFC3339), Component: &main,
		Lifecycles: &[]cdx.Lifecycle{{Phase: cdx.LifecyclePhasePostBuild}},
		Tools: &cdx.ToolsChoice{Components: &[]cdx.Component{{
			Type: cdx.ComponentTypeApplication, Name: Module + "/internal/release", Version: o.Version,
		}}},
	}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: main.BOMRef, Dependencies: &refs}}
	if len(incomplete) > 0 {
		bom.Compositions = &[]cdx.Composition{{Aggregate: cdx.CompositionAggregateIncomplete, Assemblies: &incomplete}}
	}
	var out bytes.Buffer
	if err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return nil, fmt.Errorf("write the bill of materials: %w", err)
	}
	return out.Bytes(), nil
}

// licences are what an SPDX expression says.
func licences(expression string) *cdx.Licenses {
	if strings.Contains(expression, " ") {
		return &cdx.Licenses{{Expression: expression}}
	}
	return &cdx.Licenses{{License: &cdx.License{ID: expression}}}
}

// moduleURL names a module as vulnerability databases do. The form wants small letters; the component's name
// has the path as it is.
func moduleURL(m module) string {
	return "pkg:golang/" + strings.ToLower(m.path) + "@" + url.QueryEscape(m.version)
}

// moduleHash is go.sum's, which is SHA-256 over the sums of the module's files. It stands as a hash, as Go's
// other writers of such bills have it.
func moduleHash(sum string) (cdx.Hash, error) {
	encoded, ok := strings.CutPrefix(sum, "h1:")
	if !ok {
		return cdx.Hash{}, fmt.Errorf("%q is not SHA-256", sum)
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	return cdx.Hash{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(raw)}, err
}

// npmHash is that of the package as npm has published it.
func npmHash(integrity string) (cdx.Hash, error) {
	encoded, ok := strings.CutPrefix(integrity, "sha512-")
	if !ok {
		return cdx.Hash{}, fmt.Errorf("%q is not SHA-512", integrity)
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	return cdx.Hash{Algorithm: cdx.HashAlgoSHA512, Value: hex.EncodeToString(raw)}, err
}
