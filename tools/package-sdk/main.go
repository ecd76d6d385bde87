// Write the SDK of a Pulumi package in one language, with the generators that Pulumi's own language hosts call.
// LOADER is the address at which the engine serves the schemas of other packages.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	golang "github.com/pulumi/pulumi/pkg/v3/codegen/go"
	"github.com/pulumi/pulumi/pkg/v3/codegen/nodejs"
	"github.com/pulumi/pulumi/pkg/v3/codegen/python"
	"github.com/pulumi/pulumi/pkg/v3/codegen/schema"
)

const tool = "pulumi-language"

func generate(language string, described *schema.Package, loader schema.ReferenceLoader) (map[string][]byte, error) {
	switch language {
	case "go":
		return golang.GeneratePackage(tool, described, nil)
	case "nodejs":
		return nodejs.GeneratePackage(tool, described, nil, nil, true, loader)
	case "python":
		return python.GeneratePackage(tool, described, nil, loader)
	}
	return nil, fmt.Errorf("no generator for %q: go, nodejs and python are known", language)
}

func run(language, directory, address string) error {
	var spec schema.PackageSpec
	if err := json.NewDecoder(os.Stdin).Decode(&spec); err != nil {
		return fmt.Errorf("reading the schema: %w", err)
	}
	loader, err := schema.NewLoaderClient(address)
	if err != nil {
		return err
	}
	described, problems, err := schema.BindSpec(spec, loader, schema.ValidationOptions{})
	if err != nil {
		return err
	}
	if problems.HasErrors() {
		return problems
	}
	files, err := generate(language, described, loader)
	if err != nil {
		return err
	}
	for name, content := range files {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: package-sdk go|nodejs|python DIRECTORY LOADER < schema.json")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
