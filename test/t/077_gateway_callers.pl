# The HTTP gateway and who may call it: without a key any program on this machine, but no page that a browser shows; and keys,
# whose file must be closed to others.
use strict;
use warnings;
use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);
use DurableTest;
use lib 'test/gateway';
use DurableGateway;

plan skip_all => 'the gateway is not built' unless -x gateway_program();

my $node = durable_node('gateway_callers');
$node->safe_psql('postgres', q(CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS ''));
my $base = $DurableGateway::base;
my $gateway = gateway_start($node);
my $port = $gateway->{port};

# A request as a browser would send it: asserts the status. Headers, Host but for a given one included.
sub gets
{
	my ($want, $what, $method, $path, @headers) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	unshift @headers, "Host: localhost:$port" unless grep { /^Host:/ } @headers;
	$path = "$base$path" unless $path =~ m{^/(healthz|metrics)};
	my $answer = $gateway->raw(join("\r\n", "$method $path HTTP/1.1", @headers, 'Connection: close', 'Content-Length: 0', '', ''));
	is($answer =~ m{^HTTP/1\.1 (\d+)} ? $1 : 'none', $want, "$what: $method $want") or diag $answer;
	unlike($answer, qr/^Access-Control/mi, '... without CORS') if grep { /^Origin/ } @headers;
	return $answer;
}

# Starts and reads
sub all_get
{
	my ($start, $read, $what, @headers) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	gets($start, $what, 'POST', '/orchestrators/nothing', @headers);
	gets($read, $what, 'GET', '/instances', @headers);
}

# Host
my $answer = gets(202, 'a program', 'POST', '/orchestrators/nothing');
like($answer, qr/^X-Content-Type-Options: nosniff\r$/mi, 'no page can take an answer for a script');
like($answer, qr/^Cross-Origin-Resource-Policy: same-origin\r$/mi, '... or embed it');
all_get(202, 200, "Host: $_", "Host: $_") foreach 'localhost', 'LocalHost:1', '127.0.0.1', '127.8.9.10:8080', "[::1]:$port", '[0:0:0:0:0:0:0:1]';
all_get(403, 403, "Host: $_", "Host: $_")
  foreach '0.0.0.0', "0.0.0.0:$port", '192.0.2.1', '127.1', '2130706433', '[::]', '[::2]', '[::ffff:192.0.2.1]', '127.0.0.1.example', 'localhost.example', 'localhost:80.example',
  'localhost:8080@example', 'localhost@example', '[::1', '[::1].example', ':8080', 'evil.example', '127.0.0.1:x', 'localhost/', '1' x 100;

# Origin
all_get(202, 200, "Origin: $_->[0] for Host: $_->[1]", "Origin: $_->[0]", "Host: $_->[1]")
  foreach [ "http://localhost:$port", "localhost:$port" ], [ "HTTP://LOCALHOST:$port", "localhost:$port" ], [ 'http://localhost', 'localhost:80' ], [ 'http://localhost:80', 'localhost' ],
  [ "http://[::1]:$port", "[::1]:$port" ], [ 'http://127.0.0.1', '127.0.0.1' ];
foreach my $origin ('http://evil.example', 'null', '', 'http://', 'localhost', "localhost:$port", "https://localhost:$port", 'http://localhost', 'http://localhost:3000',
	"http://127.0.0.1:$port", "http://localhost:$port.evil.example", "http://localhost:$port\@evil.example", "http://user\@localhost:$port", 'file://', "http://localhost.evil.example:$port",
	"http://localhost:$port http://evil.example", "http://evil.example/http://localhost:$port")
{
	all_get(403, 403, "Origin: $origin", "Origin: $origin");
}
all_get(403, 403, 'a page of another site that calls 0.0.0.0', "Host: 0.0.0.0:$port", 'Origin: http://evil.example');
all_get(403, 403, 'a page that calls 0.0.0.0 from there', "Host: 0.0.0.0:$port", "Origin: http://0.0.0.0:$port");
all_get(403, 403, 'DNS rebinding', "Host: evil.example:$port", "Origin: http://evil.example:$port", 'Sec-Fetch-Site: same-origin');
all_get(400, 400, 'two Origins', "Origin: http://localhost:$port", 'Origin: http://evil.example');
my $evil = 'Origin: http://evil.example';
gets(403, 'a form', 'POST', '/orchestrators/nothing', $evil, 'Content-Type: text/plain');
gets(403, 'a preflight', 'OPTIONS', '/orchestrators/nothing', $evil, 'Access-Control-Request-Method: POST', 'Access-Control-Request-Private-Network: true');
gets(403, 'a WebSocket', 'GET', '/instances', $evil, 'Upgrade: websocket', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version: 13');
gets(403, 'purge', 'DELETE', '/instances?createdTimeFrom=2000-01-01', $evil);
gets(403, $_, 'GET', $_, $evil) foreach '/healthz', '/metrics';

# Sec-Fetch-Site
all_get(202, 200, 'a page of the gateway', 'Sec-Fetch-Site: same-origin');
all_get(403, 200, 'a typed URL', 'Sec-Fetch-Site: none');
gets(200, 'a typed URL', 'HEAD', '/instances', 'Sec-Fetch-Site: none');
all_get(403, 403, "Sec-Fetch-Site: $_", "Sec-Fetch-Site: $_") foreach 'same-site', 'cross-site', 'Same-Origin', 'unknown', '';
all_get(403, 403, 'what the browser says and Origin', "Origin: http://localhost:$port", 'Sec-Fetch-Site: same-site');
is($gateway->stop, '0', 'exit 0');

# Where the options name another host
$gateway = gateway_start($node, args => [ '--base-url', "https://shop.example:8443$base" ]);
all_get(202, 200, 'a program, with --base-url', 'Host: localhost');
all_get(202, 200, 'its host', 'Host: shop.example');
all_get(202, 200, 'its origin', 'Host: shop.example', 'Origin: https://shop.example:8443');
all_get(202, 200, 'its origin, with the port', 'Host: shop.example:8443', 'Origin: https://shop.example:8443');
all_get(403, 403, "Origin: $_ with --base-url", 'Host: shop.example', "Origin: $_") foreach 'https://shop.example', 'http://shop.example:8443', 'http://shop.example', 'https://shop.example:8443.evil.example';
all_get(403, 403, 'a part of its host', 'Host: shop.exampl');
is($gateway->stop, '0', 'exit 0');

# A page cannot reach a Unix socket, but a proxy may hand on what it sends.
my $path = "$ENV{DURABLE_TMP}/tmp/gw-$$";
$gateway = gateway_start($node, listen => "unix:$path");
foreach my $case ([ 202, 'any Host', 'Host: shop.example' ], [ 202, 'its origin', 'Host: shop.example', 'Origin: http://shop.example' ],
	[ 403, 'another origin', 'Host: shop.example', $evil ], [ 403, 'another site', 'Host: shop.example', 'Sec-Fetch-Site: cross-site' ])
{
	my ($want, $what, @headers) = @$case;
	my $socket = IO::Socket::UNIX->new(Peer => $path) or die "connect: $!";
	syswrite($socket, join("\r\n", "POST $base/orchestrators/nothing HTTP/1.1", @headers, 'Content-Length: 0', '', ''));
	like(DurableGateway::answer_one($socket), qr{^HTTP/1\.1 $want }, "a Unix socket, $what: $want");
}
is($gateway->stop, '0', 'exit 0');

# Keys
my $keys = "$ENV{DURABLE_TMP}/tmp/keys-callers-$$";
sub keys_are
{
	my ($text, $mode) = @_;
	open(my $out, '>:raw', "$keys.new") or die;
	print $out $text;
	close($out);
	chmod($mode, "$keys.new");
	rename("$keys.new", $keys) or die;
}
sub refused
{
	my ($file, $why, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $errors = '';
	IPC::Run::run([ gateway_program(), '--listen', '127.0.0.1:0', '--key-file', $file ], '>', '/dev/null', '2>', \$errors, IPC::Run::timeout(60));
	is($? >> 8, 1, "$what: it does not start");
	like($errors, qr/key file \Q$file\E: $why/, '... and says why');
}
foreach my $mode (0640, 0604, 0644, 0620, 0610, 0601, 0666, 0777)
{
	keys_are("secret\n", $mode);
	refused($keys, qr/others can read or change it; run chmod 0600 on it/, sprintf 'mode %04o', $mode);
}
refused('/etc/passwd', qr/others can read or change it; run chmod 0640 on it as root/, 'a file of root that all may read');
refused("$ENV{DURABLE_TMP}/tmp", qr/it is not a regular file/, 'a directory');
refused('/dev/null', qr/it is not a regular file/, 'a device');
refused("$keys.none", qr/No such file/, 'no file');
foreach my $case ([ '', 'it holds no key' ], [ "\xef\xbb\xbf", 'it holds no key' ], [ " \n\t\r\n", 'it holds no key' ], [ 'x' x 257, 'longer than 256 bytes' ],
	[ join("\n", 1 .. 17), 'more than 16 keys' ], [ "\xff\xfek\0e\0y\0\n\0", 'NUL byte' ], [ "k\0e\0y\0", 'NUL byte' ], [ "\n" x 70000, '64 kB' ])
{
	keys_are($case->[0], 0600);
	refused($keys, qr/.*$case->[1]/, $case->[1]);
}
foreach my $mode (0600, 0400)
{
	keys_are("\xef\xbb\xbf steady \r\n\r\nol\xc3\xa4d" . 'x' x 250, $mode);
	$gateway = gateway_start($node, args => [ '--key-file', $keys ]);
	foreach my $case ([ steady => 200 ], [ "ol\xc3\xa4d" . 'x' x 250 => 200 ], [ "\xef\xbb\xbfsteady" => 401 ], [ "\xef\xbb\xbf" => 401 ], [ '' => 401 ])
	{
		gets($case->[1], sprintf('mode %04o, a key', $mode), 'GET', '/instances', "x-functions-key: $case->[0]");
	}
	is($gateway->stop, '0', 'exit 0') if $mode == 0600;
}
# Who has a key is no page.
my @key = 'x-functions-key: steady';
all_get(202, 200, 'with a key', @key, $_, 'Host: any.example') foreach $evil, 'Origin: null', 'Sec-Fetch-Site: cross-site';
all_get(401, 401, 'without', 'Host: any.example');
# A file that is opened to others changes nothing.
keys_are("new\n", 0644);
kill('HUP', $gateway->{pid});
my $until = time + 20;
sleep(0.01) while time < $until && slurp_file($gateway->{errors}) !~ /others can read/;
like(slurp_file($gateway->{errors}), qr/others can read or change it; run chmod 0600 on it/, 'SIGHUP: refused');
gets(200, 'the old key', 'GET', '/instances', @key);
gets(401, 'the new key', 'GET', '/instances', 'x-functions-key: new');
chmod(0600, $keys);
kill('HUP', $gateway->{pid});
$until = time + 20;
sleep(0.01) while time < $until && slurp_file($gateway->{errors}) !~ /keys read/;
gets(200, 'the new key', 'GET', '/instances', 'x-functions-key: new');
gets(401, 'the old key', 'GET', '/instances', @key);
is($gateway->stop, '0', 'exit 0');
done_testing();
