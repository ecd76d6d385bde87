// Command node-cache-stand-in behaves like node-cache 1.26.8 as far as this project relies on it: CoreDNS 1.13.2
// with the same plugins, flags, interface, packet rules and teardown. It exists because the real one is published
// only inside a container image; it is not node-cache and says so when it starts.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/coremain"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/vishvananda/netlink"

	// The plugins of node-cache 1.26.8 (its cmd/node-cache/main.go), and no others.
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/bufsize"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/debug"
	_ "github.com/coredns/coredns/plugin/dns64"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/pprof"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/template"
	_ "github.com/coredns/coredns/plugin/timeouts"
	_ "github.com/coredns/coredns/plugin/trace"
	_ "github.com/coredns/coredns/plugin/whoami"
)

const (
	skipConntrack = "NodeLocal DNS Cache: skip conntrack"
	allowTraffic  = "NodeLocal DNS Cache: allow DNS traffic"
	lockWait      = "5" // seconds, as the Kubernetes library waits for the xtables lock
)

type settings struct {
	localIPs       string
	interfaceName  string
	baseCorefile   string
	corefile       string
	upstream       string
	healthPort     string
	metricsAddress string
	syncInterval   time.Duration
	setupInterface bool
	setupRules     bool
	skipTeardown   bool
}

func (s settings) addresses() []string { return strings.Split(s.localIPs, ",") }

// rule is one packet rule: where it stands, and what follows the chain's name.
type rule struct {
	table, chain string
	arguments    []string
}

func (s settings) rules(dnsPort string) []rule {
	var found []rule
	add := func(table, chain, target, comment string, match ...string) {
		found = append(found, rule{table, chain, append(match, "-j", target, "-m", "comment", "--comment", comment)})
	}
	for _, ip := range s.addresses() {
		for _, protocol := range []string{"tcp", "udp"} {
			add("raw", "PREROUTING", "NOTRACK", skipConntrack, "-p", protocol, "-d", ip, "--dport", dnsPort)
			add("filter", "INPUT", "ACCEPT", allowTraffic, "-p", protocol, "-d", ip, "--dport", dnsPort)
			add("raw", "OUTPUT", "NOTRACK", skipConntrack, "-p", protocol, "-s", ip, "--sport", dnsPort)
			add("filter", "OUTPUT", "ACCEPT", allowTraffic, "-p", protocol, "-s", ip, "--sport", dnsPort)
			add("raw", "OUTPUT", "NOTRACK", skipConntrack, "-p", protocol, "-d", ip, "--dport", dnsPort)
		}
		add("raw", "OUTPUT", "NOTRACK", skipConntrack, "-p", "tcp", "-d", ip, "--dport", s.healthPort)
		add("raw", "OUTPUT", "NOTRACK", skipConntrack, "-p", "tcp", "-s", ip, "--sport", s.healthPort)
	}
	return found
}

// setupErrors is node-cache's only metric of its own, with the kinds of error that node-cache counts.
var setupErrors = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "coredns_nodecache_setup_errors_total",
	Help: "Errors of the network's periodic setup.",
}, []string{"errortype"})

func iptables(operation string, r rule) error {
	arguments := append([]string{"-w", lockWait, "-t", r.table, operation, r.chain}, r.arguments...)
	output, err := exec.Command("iptables", arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(output))
	}
	return nil
}

func (s settings) ensureRules(dnsPort string) {
	for _, each := range s.rules(dnsPort) {
		if iptables("-C", each) == nil {
			continue
		}
		if err := iptables("-I", each); err != nil {
			log.Printf("[ERROR] cannot add %v: %v", each, err)
			kind := "iptables"
			if strings.Contains(err.Error(), "holding the xtables lock") {
				kind = "iptables_lock"
			}
			setupErrors.WithLabelValues(kind).Inc()
		}
	}
}

func (s settings) removeRules(dnsPort string) {
	for _, each := range s.rules(dnsPort) {
		for iptables("-C", each) == nil {
			if err := iptables("-D", each); err != nil {
				log.Printf("[ERROR] cannot remove %v: %v", each, err)
				break
			}
		}
	}
}

// ensureInterface uses a link of that name if there is one, as node-cache does. A kernel without dummy links gets a
// bridge, which holds addresses as well; node-cache itself would fail there.
func (s settings) ensureInterface() error {
	link, err := netlink.LinkByName(s.interfaceName)
	if err != nil {
		name := netlink.LinkAttrs{Name: s.interfaceName}
		if dummy := netlink.LinkAdd(&netlink.Dummy{LinkAttrs: name}); dummy != nil {
			if bridge := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: name}); bridge != nil {
				setupErrors.WithLabelValues("interface_add").Inc()
				return errors.Join(dummy, bridge)
			}
		}
		if link, err = netlink.LinkByName(s.interfaceName); err != nil {
			setupErrors.WithLabelValues("interface_check").Inc()
			return err
		}
	}
	for _, ip := range s.addresses() {
		address, err := netlink.ParseAddr(ip + "/32")
		if err == nil {
			err = netlink.AddrReplace(link, address)
		}
		if err != nil {
			setupErrors.WithLabelValues("interface_check").Inc()
			return err
		}
	}
	return nil
}

// writeCorefile fills the base Corefile's placeholders in. As with node-cache, an unknown upstream becomes the
// text <nil>, which CoreDNS then refuses.
func (s settings) writeCorefile(path string) error {
	base, err := os.ReadFile(s.baseCorefile)
	if err != nil {
		return err
	}
	variable := strings.ToUpper(strings.ReplaceAll(s.upstream, "-", "_")) + "_SERVICE_HOST"
	upstream, known := os.LookupEnv(variable)
	if !known && bytes.Contains(base, []byte("__PILLAR__CLUSTER__DNS__")) {
		log.Printf("[WARNING] %s is not set", variable)
		upstream = "<nil>"
	}
	base = bytes.ReplaceAll(base, []byte("__PILLAR__CLUSTER__DNS__"), []byte(upstream))
	base = bytes.ReplaceAll(base, []byte("__PILLAR__UPSTREAM__SERVERS__"), []byte("/etc/resolv.conf"))
	return os.WriteFile(path, base, 0o644)
}

// started waits for CoreDNS' pid file: rules before that would point at nobody. One that an earlier run left in
// the pod's directory counts too, as it does for node-cache.
func started(pidfile string) bool {
	for range 5 {
		time.Sleep(time.Second)
		if found, err := os.Stat(pidfile); err == nil && !found.IsDir() {
			return true
		}
	}
	return false
}

// keep ensures interface and rules at every tick. Without a pid file the rules appear only at the first one.
func (s settings) keep(pidfile, dnsPort string) {
	ensure := func() {
		if s.setupRules {
			s.ensureRules(dnsPort)
		}
		if s.setupInterface {
			if err := s.ensureInterface(); err != nil {
				log.Printf("[ERROR] %v", err)
			}
		}
	}
	if pidfile != "" && started(pidfile) {
		ensure()
	}
	// node-cache multiplies a duration by a second: 5ns means five seconds, 60s an overflow. So does this.
	for range time.NewTicker(s.syncInterval * time.Second).C {
		ensure()
	}
}

func (s settings) teardown(dnsPort string) error {
	if s.setupRules {
		s.removeRules(dnsPort)
	}
	if !s.setupInterface {
		return nil
	}
	link, err := netlink.LinkByName(s.interfaceName)
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}

func main() {
	var s settings
	flag.StringVar(&s.localIPs, "localip", "", "comma-separated addresses to serve")
	flag.StringVar(&s.interfaceName, "interfacename", "nodelocaldns", "link that holds the addresses")
	flag.StringVar(&s.baseCorefile, "basecorefile", "/etc/coredns/Corefile.base", "Corefile to fill in")
	flag.StringVar(&s.corefile, "corefile", "/etc/Corefile", "where the Corefile is written, unless -conf says it")
	flag.StringVar(&s.upstream, "upstreamsvc", "kube-dns", "Service whose address the environment tells")
	flag.StringVar(&s.healthPort, "health-port", "8080", "port of the health endpoint, for the rules")
	flag.StringVar(&s.metricsAddress, "metrics-listen-address", "0.0.0.0:9353", "address of the setup metrics")
	flag.DurationVar(&s.syncInterval, "syncinterval", 60, "seconds between two looks, written as nanoseconds")
	flag.BoolVar(&s.setupInterface, "setupinterface", true, "make the link")
	flag.BoolVar(&s.setupRules, "setupiptables", true, "make the packet rules")
	flag.BoolVar(&s.skipTeardown, "skipteardown", false, "leave link and rules behind")
	flag.Parse()
	log.SetOutput(os.Stdout)
	log.Print("[INFO] node-cache-stand-in: a stand-in for node-cache 1.26.8, not node-cache itself")

	value := func(name string) string { return flag.Lookup(name).Value.String() }
	if s.localIPs != "" {
		for _, ip := range s.addresses() {
			if net.ParseIP(ip) == nil {
				log.Fatalf("[FATAL] -localip: %q is no address", ip)
			}
		}
		path := value("conf")
		if path == "" {
			path = s.corefile
			if err := flag.Set("conf", path); err != nil {
				log.Fatal(err)
			}
		}
		if err := s.writeCorefile(path); err != nil {
			log.Fatalf("[FATAL] %v", err)
		}
		if s.setupInterface {
			if err := s.ensureInterface(); err != nil {
				log.Fatalf("[FATAL] %v", err)
			}
		}
		if !s.skipTeardown {
			caddy.OnProcessExit = append(caddy.OnProcessExit, func() {
				if err := s.teardown(value("dns.port")); err != nil {
					log.Printf("[ERROR] %v", err)
				}
			})
		}
		go s.keep(value("pidfile"), value("dns.port"))
		prometheus.MustRegister(setupErrors)
		for _, kind := range []string{"iptables", "iptables_lock", "interface_add", "interface_check", "configmap"} {
			setupErrors.WithLabelValues(kind).Add(0)
		}
		go func() {
			// Not shared between processes, and not fatal: the second one goes without.
			mux := http.NewServeMux()
			mux.Handle("/metrics", promhttp.Handler())
			if err := http.ListenAndServe(s.metricsAddress, mux); err != nil {
				log.Printf("[ERROR] setup metrics: %v", err)
			}
		}()
	}
	coremain.Run()
}
